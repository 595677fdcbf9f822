"""`python tests/benchmarks SECTION…` measures; with the name of a module of `bench` it runs that one."""

import runpy
import sys

if sys.argv[1:] and sys.argv[1].startswith("bench."):
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    from bench.main import main

    sys.exit(main(sys.argv[1:]))
