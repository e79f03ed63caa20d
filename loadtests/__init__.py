"""Load tools: a driver, the standard job, and the peers that it is compared with. No part of the product."""
