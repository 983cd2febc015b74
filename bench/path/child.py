"""One scenario, in the process that `tree` starts: `python -m bench.path.child TREE SCENARIO OPTIONS`

`bench` is the folder that this file is in; everything else of the repository is imported from TREE. The last line is
the result, as JSON.
"""

import importlib
import json
import os
import sys


def main(root: str, scenario: str, options: str) -> None:
    # `bench` is already imported, and finds its modules where it is.
    sys.path[0] = root
    os.chdir(root)
    result = importlib.import_module(f"bench.path.{scenario}").run(**json.loads(options))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
