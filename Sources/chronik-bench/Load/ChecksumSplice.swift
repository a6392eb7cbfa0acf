/// The CRC-32C of bytes whose end never changes, from the CRC of their beginning alone.
///
/// A CRC is linear: crc(A ‖ B) = shift(crc(A), |B|) ⊕ crc(B), where the shift multiplies by
/// x^(8·|B|) modulo the polynomial. For a fixed length that is one 32×32 matrix over GF(2), made
/// once.
struct ChecksumSplice: Sendable {
    private static let polynomial: UInt32 = 0x82f6_3b78

    /// Row `n`: what bit `n` of the beginning's CRC turns into.
    private let matrix: [UInt32]
    private let endChecksum: UInt32

    /// For an end of `count` bytes with that checksum.
    init(endChecksum: UInt32, count: Int) {
        self.endChecksum = endChecksum
        // One zero bit after the bytes so far, in the reflected order of bits.
        var power: [UInt32] = [Self.polynomial] + (0..<31).map { 1 << $0 }
        for _ in 0..<3 { power = Self.product(power, power) }
        var shift = (0..<32).map { UInt32(1) << $0 }
        var rest = count
        while rest > 0 {
            if rest & 1 == 1 { shift = Self.product(power, shift) }
            power = Self.product(power, power)
            rest >>= 1
        }
        matrix = shift
    }

    func checksum(ofBeginning checksum: UInt32) -> UInt32 {
        Self.apply(matrix, to: checksum) ^ endChecksum
    }

    private static func apply(_ matrix: [UInt32], to vector: UInt32) -> UInt32 {
        var (sum, rest): (UInt32, UInt32) = (0, vector)
        while rest != 0 {
            sum ^= matrix[rest.trailingZeroBitCount]
            rest &= rest - 1
        }
        return sum
    }

    /// The matrix that applies `right`, then `left`.
    private static func product(_ left: [UInt32], _ right: [UInt32]) -> [UInt32] {
        right.map { apply(left, to: $0) }
    }
}
