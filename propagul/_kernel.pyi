from collections.abc import Callable

LAYOUT: int

class Packed(bytes): ...

class Getter:
    def __init__(self, function: Callable[..., object], owner: object, rows: object, table: object) -> None: ...
    def __call__(self, *args: object, **named: object) -> object: ...

class Setter:
    def __init__(
        self,
        function: Callable[..., None],
        owner: object,
        rows: object,
        replica: object,
        locked: Callable[[], bool],
        key_bytes_max: int,
        value_bytes_max: int,
        ahead_max: int,
        chunk: int,
        log: tuple[object, object, object, type, bytes] | None,
    ) -> None: ...
    def __call__(self, *args: object, **named: object) -> None: ...
    def release(self) -> None: ...
