"""The real mix of callers, with Locust: who asks when, how it is driven, what is said of it (`make load`)."""
