"""Keeps asyncio what it is for the independent implementations that tests run in this process.

Once trio-asyncio is imported, every asyncio program gets its event loop, in any thread, unless that thread
has set a policy of its own. Importing this module makes Python's policy the one that each thread has.
"""

from __future__ import annotations

import asyncio

from trio_asyncio import _loop

type(_loop._faked_policy).policy = asyncio.DefaultEventLoopPolicy()
