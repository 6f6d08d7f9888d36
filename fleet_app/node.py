"""A fleet node: the replica, what is beside it, and what it serves, put together and taken down in order.

Everything here only connects rooms: engines and telemetry become a presence row, the store's rows become a view,
gateway, dashboard and admin read that view. Whoever is asked first answers; there is no coordinator to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

from aiohttp import web

from fleet_app.addresses import advertised, is_loopback, on_lan, parse_address
from fleet_app.admin import NodeFile, create_admin_token, remove_node_file, write_node_file
from fleet_app.admin.api import AdminApi
from fleet_app.backends import Scanner
from fleet_app.custody import Custody, rotation_reply
from fleet_app.dashboard import Dashboard
from fleet_app.desired import By, commit
from fleet_app.desired.shown import declared_json
from fleet_app.desired_file import DesiredFile
from fleet_app.discovery import LanDiscovery
from fleet_app.errors import ConfigError
from fleet_app.exposure import ExposureWatch
from fleet_app.gateway import Gateway, ServingSide, front_application, front_runner
from fleet_app.heartbeat import Heartbeat
from fleet_app.history import History
from fleet_app.history.questions import answers
from fleet_app.home import ROOM
from fleet_app.ledger import edits_in, rows_of
from fleet_app.logbook import LOGBOOK
from fleet_app.presence.demand import Demand
from fleet_app.presence.voice import Voice
from fleet_app.reconcile import Reconciler
from fleet_app.roster import NODES, Roster
from propagul import AgentStateStore, GossipConfig, IdentityError, LinkError, StoreLocked, __version__
from propagul.link import Address, NodeId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fleet_app.admin import ChangeOrder, RotationReply
    from fleet_app.config import Settings
    from fleet_app.engine import Engine
    from fleet_app.membership import Membership
    from fleet_app.presence import BackendPresence
    from fleet_app.view import FleetView

DRAIN_S_MAX = 10.0
"""How long running requests may go on after a request to stop."""

_SYNC_S_MAX = 3.0
_TICK_S = 0.5
"""How often this node looks whether it has something to say, or is watched."""

_LOOK_S = 2.0

_GOSSIP = GossipConfig(pulse_interval_s=2.5, silence_s_max=8.0)
"""A box that hangs is seen to within seconds: people look at the page to learn that."""


class Node:
    """One member of the fleet. `start`, then `run` until stopped, then `stop`."""

    def __init__(self, settings: Settings, membership: Membership) -> None:
        self.settings = settings
        self.gateway = settings.gateway
        self._membership = membership
        self.store = _open_store(settings, membership)
        try:
            self.scanner = _scanner(settings)
            serving = ServingSide(node=self.store.node, backends=self._seen, key_of=self._key_of)
        except BaseException:
            self.store.close()
            raise
        self._serving = serving
        self.exposure = ExposureWatch(self._seen, keyed=self._keyed)
        self._heartbeat = Heartbeat(
            name=settings.name,
            data_dir=settings.data_dir,
            engines=self._seen,
            serving=serving,
            pulls=lambda: self.reconciler.pulls(),  # noqa: PLW0108 - it is made below
            conditions=lambda: self.reconciler.conditions(),  # noqa: PLW0108 - as above
            exposures=self.exposure.exposures,
        )
        self.custody = Custody(settings.data_dir, membership.credentials, self.store)
        self.history = History(settings.data_dir, self.store.node)
        self._heartbeat.on_sample = lambda: self.history.own(self._heartbeat.presence())
        self.reconciler = Reconciler(self.store, self, disrupted_s_ago=_disrupted_s_ago(self.history))
        self._file = _desired_file(settings, self.store, self.reconciler)
        self.roster = Roster(
            self.store,
            self._heartbeat.presence,
            spec=lambda node: self.reconciler.desired().node(node),
            notices=self._notices,
        )
        own = NODES + self.store.node
        self._voice = Voice(self.store.presence, row=own)
        self.demand = Demand(
            self.store.presence,
            row=f"{own}/",
            others=lambda: [f"{NODES}{node}/" for node in self._others],
            monotonic=time.monotonic,
        )
        self._others: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._gateway = Gateway(
            node=self.store.node, view=self.roster.view, open_tunnel=self.store.open_tunnel, serving=serving
        )
        self._dashboard = Dashboard(self.roster.view, declared=lambda: declared_json(self.reconciler.desired()))
        self.store.on_tunnel(serving.accept_tunnel)
        for route, answer in answers(self.history, self.store.node).items():
            self.store.on_query(route, answer)
        self._runner: web.AppRunner | None = None
        self._lan: LanDiscovery | None = None
        self._group: asyncio.TaskGroup | None = None
        self._looking: asyncio.Task[None] | None = None
        self._subscribe()

    # --- AdminActions --------------------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """The fleet as this node sees it, for somebody who may look again."""
        self.demand.touch()
        return self.roster.view().to_json()

    def rows(self, prefix: str) -> dict[str, list[object]]:
        """Rows of the replica, each with all its values."""
        return rows_of(self.store, prefix)

    def events(self, limit: int) -> list[dict[str, object]]:
        """The newest events, the newest first. Blocks: reads the disk."""
        names = {node.id: node.name for node in self.roster.view().nodes}
        return [
            event.to_json() | {"node": names.get(event.node, event.node)} for event in self.history.events.latest(limit)
        ]

    def logs(self, after: int, limit: int) -> list[dict[str, object]]:
        """What this process logged lately."""
        return LOGBOOK.lines(after=after, limit=limit)

    def change(self, order: ChangeOrder) -> str | None:
        """Change what is declared; see `fleet_app.desired.commit`."""
        by = By(order.author, time.time(), order.via)
        change = commit(self.store, edits_in(order), by, note=order.note, undoes=order.undoes)
        return None if change is None else change.id

    def invite(self, *, expires_s: int, uses: int, admin: bool = False) -> str:
        """A token for the next box; see `AgentStateStore.invite`."""
        return self.store.invite(expires_s=expires_s, uses=uses, admin=admin)

    def revoke(self, node: str) -> None:
        """Shut a box out; see `AgentStateStore.revoke`."""
        self.store.revoke(node)

    def rotation(self) -> RotationReply:
        """How far a change of the secret has come."""
        return rotation_reply(self.store.rotation, self.roster.view())

    def rotate(self, *, overlap_s: int) -> None:
        """Begin to change the fleet's secret."""
        self.custody.rotate(overlap_s)

    def finish_rotation(self) -> None:
        """End the former secret now."""
        self.custody.finish()

    # --- Surroundings of the reconciler --------------------------------------------------------------------------

    def view(self) -> FleetView:
        """The fleet as this node sees it now."""
        return self.roster.view()

    def engines(self) -> Sequence[Engine]:
        """The engines beside this node."""
        return self.scanner.engines()

    async def look_at(self, url: str) -> None:
        """Look at an engine again."""
        await self.scanner.look_at(url)

    def absent_s(self) -> Mapping[str, float]:
        """For how long each node has been away while this one watched."""
        return {node.id: self.history.absence_s(node.id) for node in self.roster.view().nodes if node.state == "down"}

    def note(self, kind: str, model: str, words: str) -> None:
        """Keep what happened for people."""
        self.history.events.add(kind, model, words)

    def changed(self) -> None:
        """Conditions or pulls are others now."""
        self.wake()

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look for engines, open both ports, catch up with the fleet and say who we are.

        Raises:
            ConfigError: A port is taken.
        """
        await self._open_front()
        self.custody.keep_in(asyncio.get_running_loop())
        try:
            await self.store.start(self._first_peers(), sync_timeout_s=_SYNC_S_MAX)
        except LinkError as error:
            raise ConfigError(f"{error} (--listen HOST:PORT)") from error
        self._introduce()
        await self.scanner.scan_once()
        self._beat()
        await self._open_lan()
        write_node_file(self.settings.data_dir, self._node_file())

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything going until `stop` is set."""
        async with asyncio.TaskGroup() as self._group:
            self._watch_engines()
            tasks = [
                self._group.create_task(self._dashboard.run()),
                self._group.create_task(self._beat_forever()),
                self._group.create_task(self._look_forever()),
                self._group.create_task(self._heartbeat.run()),
                self._group.create_task(self.reconciler.run()),
                self._group.create_task(self.exposure.run()),
            ]
            if self._file is not None:
                tasks.append(self._group.create_task(self._file.run()))
            if self.settings.reload is not None:
                tasks.append(self._group.create_task(self.settings.reload.run()))
            await stop.wait()
            for task in (*tasks, self._looking):
                if task is not None:
                    task.cancel()
        self._group = None

    async def stop(self) -> None:
        """Drain, say goodbye and close, in this order: nobody is sent to a box that is leaving. Idempotent."""
        if self.store.is_running:
            self._heartbeat.draining = True
            self._beat()
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

    def _seen(self) -> tuple[BackendPresence, ...]:
        return self.scanner.current()

    def _notices(self) -> list[str]:
        """What a person should read of this node's own files."""
        reload = [] if self.settings.reload is None else self.settings.reload.notices()
        trouble = [] if self._file is None or not self._file.trouble else [self._file.trouble]
        return [*self.history.notices, *reload, *trouble]

    def _key_of(self, url: str) -> str | None:
        return self.scanner.key_of(url)

    def _keyed(self) -> tuple[str, ...]:
        return tuple(engine.url for engine in self.scanner.current() if self.scanner.key_of(engine.url))

    def _watch_engines(self) -> None:
        """Have the present scanner look from now on, and no former one."""
        self.scanner.add_listener(lambda _: self._engines_changed())
        if self._looking is not None:
            self._looking.cancel()
        if self._group is not None:
            self._looking = self._group.create_task(self.scanner.run())

    # --- settings that change while it runs ----------------------------------------------------------------------

    def _subscribe(self) -> None:
        if (reload := self.settings.reload) is not None:
            reload.subscribe("backends", "detect", apply=self._take_engines)
            reload.subscribe("name", apply=self._take_name)
            reload.subscribe("mdns", apply=self._take_mdns)

    async def _take_engines(self, fresh: Settings) -> None:
        settings = self.settings.model_copy(
            update={name: getattr(fresh, name) for name in ("backends", "backend_keys", "detect")}
        )
        scanner = _scanner(settings)
        await scanner.scan_once()  # before the former one goes: no engine is gone for a moment
        self.settings, self.scanner = settings, scanner
        self._watch_engines()
        self._engines_changed()

    def _take_name(self, fresh: Settings) -> None:
        self.settings = self.settings.model_copy(update={"name": fresh.name})
        self._heartbeat.name = fresh.name
        self._introduce()
        self._beat()
        write_node_file(self.settings.data_dir, self._node_file())

    async def _take_mdns(self, fresh: Settings) -> None:
        self.settings = self.settings.model_copy(update={"mdns": fresh.mdns})
        lan, self._lan = self._lan, None
        if lan is not None:
            await lan.aclose()
        await self._open_lan()

    def wake(self) -> None:
        """Something has changed that people wait for: say it now. In the node's loop."""
        self._wake.set()

    async def _beat_forever(self) -> None:
        """Say what there is to say, when it is due."""
        while True:
            self._beat()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()

    async def _look_forever(self) -> None:
        """Look after keys, after who is lost, and keep what is seen."""
        up: set[str] = set()
        while True:
            self.custody.keep()
            view = self.roster.view()
            self.history.saw(view)
            now_up = {node.id for node in view.nodes if node.state != "down"}
            for lost in up - now_up:
                self._gateway.node_lost(NodeId(lost))
            up = now_up
            await asyncio.sleep(_LOOK_S)

    def _beat(self, *, at_once: bool = False) -> None:
        self._serving.is_drained = self.reconciler.desired().node(self.store.node).is_drained
        if self._dashboard.watchers:
            self.demand.touch()
        others = frozenset(self.store.linked()) | frozenset(member.node for member in self.store.members())
        at_once = at_once or bool(others - self._others)  # who is new here has no beat of ours yet, or an old one
        self._others = others
        watched = self.demand.is_anywhere()
        self._voice.say(self._heartbeat.presence(), time.monotonic(), watched=watched, at_once=at_once)

    def _engines_changed(self) -> None:
        self.wake()
        self.reconciler.wake()

    async def _open_front(self) -> None:
        token = create_admin_token(self.settings.data_dir)
        app = front_application(node=self.store.node, port=self.settings.gateway.port)
        app.add_routes([*self._gateway.routes(), *self._dashboard.routes(), *AdminApi(self, token).routes()])
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

    def _first_peers(self) -> list[Address]:
        """Where the invite led, and where the others listened when this node last ran."""
        rows = [row for key, row in self.store.items(NODES) if key != NODES + self.store.node]
        remembered = [address for row in rows if isinstance(row, dict) for address in _addresses(row.get("addresses"))]
        return list(dict.fromkeys([*self._membership.peers, *remembered]))

    def _introduce(self) -> None:
        """Keep who we are in the fleet's durable rows, written only when it changed."""
        row = {
            "name": self.settings.name,
            "version": __version__,
            "addresses": [str(address) for address in self.store.addresses],
        }
        if self.store.get(NODES + self.store.node) != row:
            self.store.set(NODES + self.store.node, row)

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


def _scanner(settings: Settings) -> Scanner:
    own_ports = {settings.gateway.port, settings.listen.port}
    keys = {url: key.get_secret_value() for url, key in settings.backend_keys.items()}
    return Scanner(urls=settings.backends, detect=settings.detect, ignore_ports=own_ports, api_keys=keys)


def _open_store(settings: Settings, membership: Membership) -> AgentStateStore:
    listen = settings.listen
    try:
        return AgentStateStore(
            ROOM,
            node_id=settings.name,
            port=listen.port,
            host=listen.host,
            path=settings.data_dir / "state",
            config=_GOSSIP,
            credentials=membership.credentials,
            advertise=advertised(listen),
            alone=True,
            owned=(NODES,),
        )
    except StoreLocked as error:
        raise ConfigError(f"{error}; a second node on this box needs a --data-dir of its own") from error
    except IdentityError as error:
        raise ConfigError(f"{error}, or invite this box again and start it with --join") from error


def _addresses(value: object) -> list[Address]:
    """Addresses out of a durable row that some member wrote; what is none is left out."""
    found = []
    for text in value if isinstance(value, list) else []:
        with contextlib.suppress(ConfigError):
            found.append(parse_address(str(text)))
    return found
