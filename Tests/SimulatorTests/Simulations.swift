import Testing

/// Tests that each keep a processor busy, one after the other.
@Suite(.serialized) enum Simulations {}
