"""What happens to a voice on its way: level, a room that echoes, and noise."""

import numpy as np

RATE_HZ = 16_000


def in_a_room(samples: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Speech as a microphone in some room may take it: echo, noise and level all drawn."""
    if noise.random() < 0.5:
        samples = echoed(samples, noise)
    samples = samples / max(1e-6, float(np.abs(samples).max())) * 10 ** noise.uniform(-1.2, -0.1)
    loudness = float(np.sqrt(np.mean(samples ** 2)))
    if noise.random() < 0.8:
        distance_db = noise.uniform(12, 45)
        samples = samples + hiss(len(samples), noise) * loudness * 10 ** (-distance_db / 20)
    return np.clip(samples, -1, 1).astype(np.float32)


def echoed(samples: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Direct sound and a decaying, noise-like tail of 50 to 300 ms."""
    seconds = noise.uniform(0.05, 0.3)
    length = int(seconds * RATE_HZ)
    tail = noise.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= noise.uniform(0.1, 0.6) / np.sqrt(np.sum(tail ** 2))
    tail[0] += 1
    size = 1 << (len(samples) + length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[:len(samples)]


def hiss(count: int, noise: np.random.Generator) -> np.ndarray:
    """Noise of power 1 between white and brown, sometimes with the hum of the mains."""
    size = 1 << (count - 1).bit_length()
    spectrum = np.fft.rfft(noise.standard_normal(size))
    spectrum *= np.maximum(1, np.arange(len(spectrum))) ** -noise.uniform(0, 1)
    sound = np.fft.irfft(spectrum, size)[:count]
    sound /= max(1e-9, float(np.sqrt(np.mean(sound ** 2))))
    if noise.random() < 0.3:
        sound = sound + np.sin(2 * np.pi * noise.choice([50, 60, 100]) * np.arange(count) / RATE_HZ)
    return sound
