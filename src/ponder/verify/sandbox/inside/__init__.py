"""What runs inside the sandbox, by an interpreter of its own that knows nothing of ponder.

These files import each other and the standard library only. ``zygote`` confines itself and forks
``verifier`` for each request; that forks ``candidate`` before it reads the request.
"""
