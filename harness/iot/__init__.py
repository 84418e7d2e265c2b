"""How AWS IoT Core behaves, as pure functions and values: limits, quirks, registry snapshot, policies, signatures."""
