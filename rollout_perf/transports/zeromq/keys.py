"""Who may connect to the ZeroMQ transport's sockets over tcp: whoever has the keys made for the run."""

import logging
from dataclasses import dataclass

import zmq
from zmq.auth.thread import ThreadAuthenticator

_log = logging.getLogger(__name__)
_peers_log = logging.getLogger(f"{__name__}.peers")
_peers_log.setLevel(logging.CRITICAL + 1)  # pyzmq logs every peer; Authenticator logs what matters


@dataclass(frozen=True, repr=False)
class Keys:
    """What a worker needs to connect, and to know that it has reached the driver. Secret."""

    driver_public: bytes
    public: bytes
    secret: bytes

    def apply_to(self, socket: zmq.Socket) -> None:
        """Give them to a worker's socket."""
        socket.curve_serverkey = self.driver_public
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret


class Authenticator:
    """Lets a peer connect that has the key of this run, by CURVE; logs the first that does not."""

    def __init__(self, context: zmq.Context):
        public, self._secret = zmq.curve_keypair()
        self._public = public
        self.keys = Keys(public, *zmq.curve_keypair())
        self._has_logged = False
        self._authenticator = ThreadAuthenticator(context, log=_peers_log)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="*", credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the peer with this public key may connect; pyzmq calls it, with the key in Z85."""
        if key == self.keys.public:
            return True
        if not self._has_logged:
            self._has_logged = True
            _log.warning("a peer with an unknown key was refused; further ones are refused in silence")
        return False

    def protect(self, socket: zmq.Socket) -> None:
        """Let nobody connect to a socket without the key."""
        socket.curve_server = True
        socket.curve_publickey = self._public
        socket.curve_secretkey = self._secret

    def close(self) -> None:
        """End; no socket that it protects may be open any more."""
        self._authenticator.stop()
