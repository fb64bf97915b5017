"""A TCP proxy that is a slower network: bytes a second in each direction, and the time of a round trip.

    python -m benchmarks.serve_link <port of the server> <bytes a second> <seconds>

prints its own port. Bytes are held back, never lost; a connection is open after one round trip.
"""

import asyncio
import contextlib
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

_CHUNK = 32 * 1024
_UNDER_WAY = 64
"""How many chunks of a connection are under way at most, as a window bounds them on a real network."""


class Direction:
    """One way of the network, which all connections share."""

    def __init__(self, bytes_per_second: float, delay: float) -> None:
        self._rate, self._delay = bytes_per_second, delay
        self._free_at = 0.0

    def arrives(self, size: int) -> float:
        """Return when so many bytes that are sent now will have come, on the loop's clock."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._rate
        return self._free_at + self._delay

    async def carry(self, source: StreamReader, target: StreamWriter) -> None:
        """Carry what comes from one end to the other, to its end."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def send() -> None:
            while chunk := await source.read(_CHUNK):
                await under_way.put((self.arrives(len(chunk)), chunk))
            await under_way.put((self.arrives(0), b""))

        async def receive() -> None:
            while True:
                due, chunk = await under_way.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                if not chunk:
                    target.write_eof()
                    return
                target.write(chunk)
                await target.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            group.create_task(receive())


def proxy(
    port: int, up: Direction, down: Direction, round_trip: float
) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    """Return what serves a connection."""

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await asyncio.sleep(round_trip)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with contextlib.suppress(ExceptionGroup):  # one end has gone, and so the other one does
                async with asyncio.TaskGroup() as group:
                    group.create_task(up.carry(reader, far_writer))
                    group.create_task(down.carry(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()

    return serve


async def main(port: int, bytes_per_second: float, round_trip: float) -> None:
    """Serve until standard input ends."""
    up, down = (Direction(bytes_per_second, round_trip / 2) for _ in range(2))
    server = await asyncio.start_server(proxy(port, up, down, round_trip), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - read by the benchmark
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
