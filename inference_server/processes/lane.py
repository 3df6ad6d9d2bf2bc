"""Objects between two processes of ours: pickled over a socket, their large buffers through shared memory.

Both ends are our own code and the socket is a pair that nobody else can open, so pickles are as safe as a call.
"""

import mmap
import os
import pickle
import struct
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

# Smaller buffers travel with the pickle: a system call more costs what copying so much twice does.
_SHARED_FROM = 16 * 1024
_PAGE = mmap.PAGESIZE
_HEAD = struct.Struct("<QI")


class Arena:
    """A file in memory that both processes map, and that its writer makes larger when it must."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None
        self._size = 0

    def close(self) -> None:
        """Close the file; what views of it show stays as long as they do."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def view(self, size: int, *, grow: bool) -> memoryview:
        """Return the first `size` bytes. A map that is left for a larger one lives as long as views of it do."""
        if size > self._size:
            if grow:
                size = max(size, 2 * self._size)
                size += -size % _PAGE
                os.ftruncate(self.descriptor, size)
            else:
                size = os.fstat(self.descriptor).st_size
            self._map, self._size = mmap.mmap(self.descriptor, size), size
        return memoryview(self._map) if self._map is not None else memoryview(b"")


def new_memory(name: str) -> int:
    """Return the descriptor of an empty file in memory, to be handed to a child."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Lane:
    """One end of a socket with an arena for each direction. One message at a time, then its answer."""

    def __init__(self, socket: Connection, outgoing: Arena, incoming: Arena) -> None:
        self._socket = socket
        self._outgoing = outgoing
        self._incoming = incoming

    def send(self, message: object) -> None:
        """Send an object; raises OSError when the other end is gone."""
        buffers: list[memoryview] = []

        def shared(buffer: pickle.PickleBuffer) -> bool:
            try:
                raw = buffer.raw()
            except BufferError:  # not in one piece
                return True
            if raw.nbytes < _SHARED_FROM:
                return True  # into the pickle
            buffers.append(raw)
            return False

        data = pickle.dumps(message, protocol=5, buffer_callback=shared)
        sizes = [buffer.nbytes for buffer in buffers]
        total = sum(sizes)
        self._write(buffers, total)
        head = _HEAD.pack(total, len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
        self._socket.send_bytes(head + data)

    def receive(self, *, copy: bool) -> Any:
        """Return the next object; raises EOFError or OSError when the other end is gone.

        Without `copy` the object's large buffers lie in the arena: they change with the next message.
        """
        raw = self._socket.recv_bytes()
        total, count = _HEAD.unpack_from(raw)
        sizes = struct.unpack_from(f"<{count}Q", raw, _HEAD.size)
        view = self._incoming.view(total, grow=False) if total else memoryview(b"")
        buffers: list[memoryview | bytearray] = []
        place = 0
        for size in sizes:
            part = view[place : place + size]
            buffers.append(bytearray(part) if copy else part)
            place += size
        return pickle.loads(memoryview(raw)[_HEAD.size + 8 * count :], buffers=buffers)  # noqa: S301 - our own process

    def close(self) -> None:
        """Close the socket, so that the other end sees the end of the file, and the arenas. May be repeated."""
        self._socket.close()
        self._outgoing.close()
        self._incoming.close()

    def _write(self, buffers: Sequence[memoryview], total: int) -> None:
        if not total:
            return
        view = self._outgoing.view(total, grow=True)
        place = 0
        for buffer in buffers:
            view[place : place + buffer.nbytes] = buffer
            place += buffer.nbytes
