"""The shared core: scheduler, loop. Batch and live differ in Source and Sink only."""
