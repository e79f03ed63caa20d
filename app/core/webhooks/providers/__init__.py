"""One file a provider: how its deliveries are verified, taken apart and read, with the vendor's page for each fact."""
