"""Large reviews are read by a process of their own, one at a time, so that small ones do not wait for them.

A thread would not help: the JSON parsers hold the interpreter's lock, and so does the collector that walks
over what they make. The process lives for one review: nothing has to be kept alive or in step, and its
memory is given back.
"""

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Final

from kubedr_server.admission import trim

logger = logging.getLogger(__name__)

_COMMAND: Final = (sys.executable, "-I", "-S", trim.__file__)
"""Without site packages: it starts in the time that the parsing of 300 KB takes."""


async def trimmed(body: bytes) -> bytes:
    """Return the review without what no rule reads; the body itself if that did not work.

    A body that is not JSON comes back as it is: whoever parses it next says what is wrong.
    """
    try:
        process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    except OSError as error:
        logger.warning("no process for a large review: read here", extra={"problem": str(error)})
        return body
    try:
        answer, _ = await process.communicate(body)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return answer if process.returncode == 0 else body
