"""``python -m sfu.worker FD``: started by the supervisor, with the control socket as file descriptor FD."""

import sys

from sfu.worker.process import main

main(int(sys.argv[1]))
