#!/usr/bin/env bash
# usage: wheel.sh WHEEL PYTHON: installs a wheel into an environment of its own, which sees PyTorch and the other packages
# of PYTHON's but not its thermokern, and runs the README's example and the command from another folder.
set -euo pipefail
wheel=$(realpath "$1") python=$(realpath -s "$2") root=$(realpath "$(dirname "$0")/..") env=$root/build/wheel-env
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
"$python" -m venv --clear "$env"
"$python" -c "$purelib" > "$("$env/bin/python" -c "$purelib")/shared.pth"
"$env/bin/python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
cd /
unset PYTHONPATH
"$env/bin/python" -c "
import pathlib, thermokern
assert pathlib.Path(thermokern.__file__).is_relative_to('$env'), thermokern.__file__"
"$env/bin/python" "$root/tests/page_blocks.py" README.md
"$env/bin/thermokern" --version
"$env/bin/thermokern" info
