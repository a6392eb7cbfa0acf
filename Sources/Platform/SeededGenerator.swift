/// A small, fast random generator whose whole future follows from its seed (SplitMix64).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number below `bound`, which is above zero.
    public mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "a number below \(bound)")
        return Int(next() % UInt64(bound))
    }

    /// True in `numerator` of `denominator` cases.
    public mutating func chance(_ numerator: Int, in denominator: Int) -> Bool {
        below(denominator) < numerator
    }

    /// A generator of its own, so that one part's draws do not shift another's.
    public mutating func fork() -> SeededGenerator { SeededGenerator(seed: next()) }
}
