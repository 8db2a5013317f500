"""`python -m slicewise.cli` is `slicewise`."""

from slicewise.cli.main import main

raise SystemExit(main())
