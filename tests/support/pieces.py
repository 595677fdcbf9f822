"""A file that hands out little at once, so that a small content makes many blocks."""

import io


class Pieces(io.BytesIO):
    """Whatever is asked for, `read` returns `most` bytes at most."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._most if size is None or size < 0 else min(size, self._most))
