# SPDX-License-Identifier: Apache-2.0
"""The two files of a Caffe2 network: which they are, and reading them, binary or as text."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from compiler.ir.errors import CompileError
from compiler.source.imports.caffe2.schema import NetDef

ENDINGS = (".pb", ".pbtxt")
PREDICT, INIT = "predict_net", "init_net"


def find(path: Path) -> tuple[Path, Path | None] | None:
    """The predict net and the init net beside it, if a folder or file is Caffe2 by its name; the
    second is None where there is none."""
    if path.is_dir():
        found = [path / f"{PREDICT}{e}" for e in ENDINGS if (path / f"{PREDICT}{e}").is_file()]
        if not found:
            return None
        path = found[0]
    if PREDICT not in path.name or path.suffix not in ENDINGS or not path.is_file():
        return None
    stem = path.stem.replace(PREDICT, INIT)
    inits = (path.with_name(f"{stem}{e}") for e in (path.suffix, *ENDINGS))
    return path, next((i for i in inits if i.is_file()), None)


def read_net(path: Path) -> Any:
    """A net of a file.

    Raises
    ------
    CompileError
        If there is no such file, or it is no net.
    """
    net = NetDef()
    try:
        data = path.read_bytes()
        if path.suffix == ".pbtxt":
            text_format.Parse(data.decode(), net)
        else:
            net.ParseFromString(data)
    except OSError as e:
        raise CompileError(str(path), f"cannot be read ({e.strerror})", "check the path") from e
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as e:
        raise CompileError(str(path), f"not a Caffe2 net ({e})",
                           "give predict_net and init_net as .pb or .pbtxt") from e
    if not net.op or any(not op.type for op in net.op):
        raise CompileError(str(path), "not a Caffe2 net: it has no operators",
                           "give the file itself, not a pointer of git-lfs to it")
    return net
