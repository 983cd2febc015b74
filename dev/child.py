"""Runs a command that does not outlive its parent: `python dev/child.py SIGNAL PARENT_PID COMMAND...`.

On Linux the kernel sends SIGNAL to the command when the parent ends, however it ends; elsewhere the command is simply
run. It is a separate launcher because doing this between fork and exec is unsafe in a parent that has threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(signal_number: int, parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent ended before the kernel was asked
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
