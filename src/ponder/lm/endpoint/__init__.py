"""A model behind one or several OpenAI-compatible servers: ``openai:http://HOST/v1#MODEL``.

``address`` reads such a name, ``spelling`` turns chats into tokens and back, ``asking`` and
``reading`` are the two directions of the wire (``streaming`` where a reply is cut here),
``servers`` what differs between kinds of server, ``failures``, ``pool`` and ``asker`` retries and
failover, ``engine`` what the runtime sees, ``model`` the language model, ``opening`` its loading.
"""

from ponder.lm.endpoint.address import is_endpoint, known_name, with_endpoints

__all__ = ["is_endpoint", "known_name", "with_endpoints"]
