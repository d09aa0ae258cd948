"""Workers: threads that claim runs from the queue, execute them in a sandbox or on a node, and finalize them."""
