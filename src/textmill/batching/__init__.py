"""The shared core: cost, scheduler, loop. Batch and live differ in Source and Sink only."""
