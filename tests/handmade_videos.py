"""Small moving pictures: a square that wanders, 20 frames of 32 x 32 pixels."""

import io

import numpy as np
from PIL import Image


def frames(number=20):
    seen = np.zeros((number, 32, 32), np.uint8)
    for index, frame in enumerate(seen):
        frame[index : index + 8, 4:12] = 50 + 10 * index
    return seen


def moving_gif(number=20):
    """Encode the frames as GIF."""
    pictures, buffer = [Image.fromarray(frame) for frame in frames(number)], io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=40, loop=0)
    return buffer.getvalue()


def video(kind):
    """Encode the frames without loss, in a container of a kind, such as mkv."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format={"mkv": "matroska"}.get(kind, kind)) as file:
        stream = file.add_stream("ffv1" if kind == "mkv" else "mjpeg", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "gray" if kind == "mkv" else "yuvj420p"
        for frame in frames():
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)
    return buffer.getvalue()
