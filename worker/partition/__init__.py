"""One partition: its lane, with fetch buffer, start, piece processor, states topic and timers."""
