"""The ZeroMQ transport: calls go out by a ROUTER socket in the driver, replies come in by a PULL.

A worker receives calls on a DEALER, in its main thread, and sends replies by a PUSH, so that a
thread that waits for the GPU can reply while the main thread is in the next call. A call is
packed once for all workers.

Over ipc the sockets are in a folder that only the user can enter. Over tcp they are bound to the
interface asked for, encrypted and authenticated by CURVE with keys made for the run; nothing
that an unauthenticated peer sends is read.

    driver        the driver's end, the Transport
    worker        the worker's end, a process of its own
    frames        a message as frames of a socket, and back
    small_frames  frames up to 64 KiB, sent and received without releasing the GIL
    spin          how both ends wait: asleep until a message is due, then spinning
    endpoint      where the sockets are bound, and how much they buffer
    keys          who may connect over tcp
"""
