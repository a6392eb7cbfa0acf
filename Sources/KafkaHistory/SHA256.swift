/// SHA-256 of FIPS 180-4, for the digests a history has in place of long values.
package enum SHA256 {
    private static let constants: [UInt32] = fractions(of: 64) { $0.cubeRootFraction }
    private static let start: [UInt32] = fractions(of: 8) { $0.squareRootFraction }

    package static func hexadecimalDigest(of bytes: [UInt8]) -> String {
        var state = start
        var message = bytes
        message.append(0x80)
        while message.count % 64 != 56 { message.append(0) }
        let bits = UInt64(bytes.count) * 8
        for shift in stride(from: 56, through: 0, by: -8) {
            message.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        for block in stride(from: 0, to: message.count, by: 64) {
            compress(message[block..<block + 64], into: &state)
        }
        return state.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    private static func compress(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
        var words: [UInt32] = []
        for index in 0..<16 {
            let at = block.startIndex + 4 * index
            words.append(block[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) })
        }
        for index in 16..<64 {
            let (a, b) = (words[index - 15], words[index - 2])
            let low = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3)
            let high = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10)
            words.append(words[index - 16] &+ low &+ words[index - 7] &+ high)
        }
        var v = state
        for index in 0..<64 {
            let mix = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)
            let choice = (v[4] & v[5]) ^ (~v[4] & v[6])
            let first = v[7] &+ mix &+ choice &+ constants[index] &+ words[index]
            let other = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)
            let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
            v = [first &+ other &+ majority, v[0], v[1], v[2], v[3] &+ first, v[4], v[5], v[6]]
        }
        for index in 0..<8 { state[index] &+= v[index] }
    }

    private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
        word >> count | word << (32 - count)
    }

    // MARK: The constants

    /// The standard takes its words from the fractions of the roots of the first primes.
    private static func fractions(of count: Int, _ fraction: (Prime) -> UInt32) -> [UInt32] {
        var primes: [Int] = []
        var candidate = 2
        while primes.count < count {
            if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { fraction(Prime(value: UInt64($0))) }
    }

    /// Integer roots of a prime shifted left, by bisection: exact, unlike floating point.
    private struct Prime {
        let value: UInt64

        var squareRootFraction: UInt32 {
            root { (UInt128($0) * UInt128($0)) <= UInt128(value) << 64 }
        }

        var cubeRootFraction: UInt32 {
            root {
                let (word, wide) = (UInt128($0), UInt128(value))
                // word³ ≤ value · 2⁹⁶, by parts that fit.
                let (high, low) = (word * word).multipliedFullWidth(by: word)
                let limit = wide >> 32
                return high < limit || (high == limit && low <= wide << 96)
            }
        }

        private func root(_ isWithin: (UInt64) -> Bool) -> UInt32 {
            var (low, high) = (UInt64(0), UInt64(1) << 40)
            while high - low > 1 {
                let middle = (low + high) / 2
                if isWithin(middle) { low = middle } else { high = middle }
            }
            return UInt32(truncatingIfNeeded: low)
        }
    }
}
