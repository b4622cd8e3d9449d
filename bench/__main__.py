"""``python -m bench NAME``: the figures of the README, each by one command, printed as a table."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    names = sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")
    )
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: python -m bench NAME [OPTIONS]   NAME: {', '.join(names)}")
        for name in names:
            module = importlib.import_module(f"bench.{name}")
            print(f"  {name:10} {(module.__doc__ or '').splitlines()[0]}")
        sys.exit(2)
    importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
