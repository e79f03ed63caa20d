"""What the tests share: real servers to talk to, and a proxy that makes them misbehave."""
