"""A fleet node: the replica, what is beside it, and what it serves, put together and taken down in order.

Everything here only connects rooms: engines and telemetry become presence rows, the store's rows become a view,
gateway, dashboard and admin read that view, the reconciler makes what is declared so. There is no coordinator.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from fleet_app.addresses import is_loopback, on_lan
from fleet_app.admin import NodeFile, create_admin_token, remove_node_file, write_node_file
from fleet_app.admin.api import AdminApi
from fleet_app.beside import Beside
from fleet_app.custody import Custody
from fleet_app.dashboard import Dashboard
from fleet_app.desired.shown import declared_json
from fleet_app.desired_file import DesiredFile
from fleet_app.discovery import LanDiscovery
from fleet_app.errors import ConfigError
from fleet_app.gateway import Gateway, ServingSide, front_application, front_runner
from fleet_app.heartbeat import Heartbeat
from fleet_app.history import History
from fleet_app.history.questions import answers
from fleet_app.owner import Owner
from fleet_app.reconcile import Reconciler
from fleet_app.replica import introduce, open_store, remembered_peers
from fleet_app.roster import Roster
from fleet_app.speech import Speech
from propagul import LinkError
from propagul.link import Address, NodeId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleet_app.config import Settings
    from fleet_app.engine import Engine
    from fleet_app.membership import Membership
    from fleet_app.view import FleetView
    from propagul import AgentStateStore

DRAIN_S_MAX = 10.0
"""How long running requests may go on after a request to stop."""

_SYNC_S_MAX = 3.0
_LOOK_S = 2.0


class _Runs(Protocol):
    """A part that runs until it is cancelled."""

    async def run(self) -> None: ...


class Node:
    """One member of the fleet. `start`, then `run` until stopped, then `stop`."""

    def __init__(self, settings: Settings, membership: Membership) -> None:
        self.settings = settings
        self.gateway = settings.gateway
        self._membership = membership
        self.store = open_store(settings, membership)
        try:
            self.beside = Beside(settings, self._engines_changed)
        except BaseException:
            self.store.close()
            raise
        self._serving = ServingSide(node=self.store.node, backends=self.beside.seen, key_of=self.beside.key_of)
        self.history = History(settings.data_dir, self.store.node)
        self.reconciler = Reconciler(self.store, self, disrupted_s_ago=_disrupted_s_ago(self.history))
        self._heartbeat = Heartbeat(
            name=settings.name,
            data_dir=settings.data_dir,
            engines=self.beside.seen,
            serving=self._serving,
            pulls=self.reconciler.pulls,
            conditions=self.reconciler.conditions,
            exposures=self.beside.exposures,
        )
        self._heartbeat.on_sample = lambda: self.history.own(self._heartbeat.presence())
        self._file = _desired_file(settings, self.store, self.reconciler)
        self.roster = Roster(
            self.store,
            self._heartbeat.presence,
            spec=lambda node: self.reconciler.desired().node(node),
            notices=self._notices,
        )
        self._dashboard = Dashboard(
            self.roster.view,
            lately=lambda: self.roster.view(fresh_s=_LOOK_S),
            declared=lambda: declared_json(self.reconciler.desired()),
        )
        self._speech = Speech(self.store, self._heartbeat.presence, lambda: self._dashboard.watchers)
        self.custody = Custody(settings.data_dir, membership.credentials, self.store)
        self.owner = Owner(
            store=self.store,
            roster=self.roster,
            custody=self.custody,
            history=self.history,
            demand=self._speech.demand,
        )
        self._gateway = Gateway(
            node=self.store.node, view=self.roster.view, open_tunnel=self.store.open_tunnel, serving=self._serving
        )
        self.store.on_tunnel(self._serving.accept_tunnel)
        for route, answer in answers(self.history, self.store.node).items():
            self.store.on_query(route, answer)
        self._runner: web.AppRunner | None = None
        self._lan: LanDiscovery | None = None
        self._subscribe()

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look for engines, open both ports, catch up with the fleet and say who we are.

        Raises:
            ConfigError: A port is taken.
        """
        await self._open_front()
        self.custody.keep_in(asyncio.get_running_loop())
        peers = dict.fromkeys([*self._membership.peers, *remembered_peers(self.store)])
        try:
            await self.store.start(list(peers), sync_timeout_s=_SYNC_S_MAX)
        except LinkError as error:
            raise ConfigError(f"{error} (--listen HOST:PORT)") from error
        introduce(self.store, self.settings.name)
        await self.beside.look()
        self._speech.say()
        await self._open_lan()
        write_node_file(self.settings.data_dir, self._node_file())

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything going until `stop` is set."""
        rooms: list[_Runs] = [self.beside, self._dashboard, self._heartbeat, self._speech, self.reconciler]
        rooms += [room for room in (self._file, self.settings.reload) if room is not None]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(room.run()) for room in rooms]
            tasks.append(group.create_task(self._look_forever()))
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """Drain, say goodbye and close, in this order: nobody is sent to a box that is leaving. Idempotent."""
        if self.store.is_running:
            self._heartbeat.draining = True
            self._speech.say()
        await self._serving.drain(DRAIN_S_MAX)
        await self._dashboard.aclose()
        if self._lan is not None:
            await self._lan.aclose()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._gateway.aclose()
        await self._serving.aclose()
        await self.store.stop()
        await asyncio.to_thread(self.history.close)
        remove_node_file(self.settings.data_dir)

    async def _look_forever(self) -> None:
        """Look after keys, after who is lost, and keep what is seen."""
        up: set[str] = set()
        while True:
            self.custody.keep()
            view = self.roster.view()
            self.history.saw(view)
            self._serving.is_drained = self.reconciler.desired().node(self.store.node).is_drained
            now_up = {node.id for node in view.nodes if node.state != "down"}
            for lost in up - now_up:
                self._gateway.node_lost(NodeId(lost))
            up = now_up
            await asyncio.sleep(_LOOK_S)

    def _notices(self) -> list[str]:
        """What a person should read of this node's own files."""
        reload = [] if self.settings.reload is None else self.settings.reload.notices()
        trouble = [] if self._file is None or not self._file.trouble else [self._file.trouble]
        return [*self.history.notices, *reload, *trouble]

    # --- Surroundings of the reconciler --------------------------------------------------------------------------

    def view(self) -> FleetView:
        """The fleet as this node sees it now."""
        return self.roster.view()

    def engines(self) -> Sequence[Engine]:
        """The engines beside this node."""
        return self.beside.engines()

    async def look_at(self, url: str) -> None:
        """Look at an engine again."""
        await self.beside.look_at(url)

    def absent_s(self) -> Mapping[str, float]:
        """For how long each node has been away while this one watched."""
        return {node.id: self.history.absence_s(node.id) for node in self.roster.view().nodes if node.state == "down"}

    def note(self, kind: str, model: str, words: str) -> None:
        """Keep what happened for people."""
        self.history.events.add(kind, model, words)

    def changed(self) -> None:
        """Conditions or pulls are others now."""
        self._speech.wake()

    def _engines_changed(self) -> None:
        self._speech.wake()
        self.reconciler.wake()

    # --- settings that change while it runs ----------------------------------------------------------------------

    def _subscribe(self) -> None:
        if (reload := self.settings.reload) is not None:
            reload.subscribe("backends", "detect", apply=self._take_engines)
            reload.subscribe("name", apply=self._take_name)
            reload.subscribe("mdns", apply=self._take_mdns)

    async def _take_engines(self, fresh: Settings) -> None:
        settings = self._with(fresh, "backends", "backend_keys", "detect")
        await self.beside.take(settings)
        self.settings = settings

    def _take_name(self, fresh: Settings) -> None:
        self.settings = self._with(fresh, "name")
        self._heartbeat.name = fresh.name
        introduce(self.store, fresh.name)
        self._speech.say()
        write_node_file(self.settings.data_dir, self._node_file())

    async def _take_mdns(self, fresh: Settings) -> None:
        self.settings = self._with(fresh, "mdns")
        lan, self._lan = self._lan, None
        if lan is not None:
            await lan.aclose()
        await self._open_lan()

    def _with(self, fresh: Settings, *keys: str) -> Settings:
        return self.settings.model_copy(update={key: getattr(fresh, key) for key in keys})

    # --- ports ---------------------------------------------------------------------------------------------------

    async def _open_front(self) -> None:
        token = create_admin_token(self.settings.data_dir)
        app = front_application(node=self.store.node, port=self.settings.gateway.port)
        app.add_routes([*self._gateway.routes(), *self._dashboard.routes(), *AdminApi(self.owner, token).routes()])
        self._runner = front_runner(app, node=self.store.node)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, *self.settings.gateway).start()
        except OSError as error:
            trouble = f"the gateway cannot listen on {self.settings.gateway}: {error.strerror}"
            raise ConfigError(f"{trouble}; choose another --gateway") from error
        self.gateway = Address(self.settings.gateway.host, int(self._runner.addresses[0][1]))

    async def _open_lan(self) -> None:
        if self.settings.mdns and not is_loopback(self.settings.listen.host) and self.store.addresses:
            hosts = [address.host for address in on_lan(self.settings.listen)]
            self._lan = LanDiscovery(
                room_tag=self._membership.credentials.room_tag,
                node=self.store.node,
                port=self.store.addresses[0].port,
                addresses=hosts,
                found=lambda address: self.store.add_peer(*address),
                interfaces=[host for host in hosts if ":" not in host] or None,
            )
            await self._lan.start()

    def _node_file(self) -> NodeFile:
        return NodeFile(
            pid=os.getpid(),
            id=self.store.node,
            name=self.settings.name,
            gateway=str(self.gateway),
            listen=str(self.store.addresses[0]),
            started=time.time(),
        )


def _disrupted_s_ago(history: History) -> list[float]:
    """When this node last took something from people, so that a restart gives it no fresh budget."""
    now_s = time.time()
    done = history.events.latest(
        kinds=("delete_done", "delete_failed", "unload_done", "unload_failed"), since_s=now_s - 3600, limit=1000
    )
    return [max(0.0, now_s - event.at_s) for event in done]


def _desired_file(settings: Settings, store: AgentStateStore, reconciler: Reconciler) -> DesiredFile | None:
    if settings.desired is None:
        return None
    return DesiredFile(store, settings.desired, settings.name, reconciler.nodes, watched=settings.watch)
