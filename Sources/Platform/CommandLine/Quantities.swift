/// Sizes in bytes as people write them: `1048576`, `64KiB`, `1GiB`, `1MB`.
package enum ByteSize {
    private static let units: [(name: String, factor: Int)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
        ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000),
        ("kB", 1000), ("B", 1),
    ]

    package static func parse(_ text: String) -> Int? {
        Quantity.parse(text, units: units, bare: 1)
    }

    /// In the largest binary unit that says it exactly.
    package static func text(_ bytes: Int) -> String {
        let unit = units.prefix(4).first { bytes != 0 && bytes % $0.factor == 0 }
        return unit.map { "\(bytes / $0.factor)\($0.name)" } ?? "\(bytes)"
    }
}

/// A unit of time that a setting counts in.
package enum TimeUnit: Int, Sendable {
    case milliseconds = 1
    case seconds = 1000
    case minutes = 60_000
    case hours = 3_600_000

    private static let units: [(name: String, factor: Int)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    /// A number of this unit out of `90s`, `7d` or a bare number, which counts in this unit.
    ///
    /// `nil` when it is no duration or no whole number of this unit.
    package func parse(_ text: String) -> Int? {
        if text == "-1" { return -1 }
        guard let milliseconds = Quantity.parse(text, units: Self.units, bare: rawValue),
            milliseconds % rawValue == 0
        else { return nil }
        return milliseconds / rawValue
    }

    /// In the largest unit that says it exactly.
    package func text(_ amount: Int) -> String {
        let (milliseconds, overflow) = amount.multipliedReportingOverflow(by: rawValue)
        guard amount > 0, !overflow else { return "\(amount)" }
        let unit = Self.units.last { milliseconds % $0.factor == 0 }
        return unit.map { "\(milliseconds / $0.factor)\($0.name)" } ?? "\(amount)"
    }
}

private enum Quantity {
    static func parse(_ text: String, units: [(name: String, factor: Int)], bare: Int) -> Int? {
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let name = text.dropFirst(digits.count).drop { $0 == " " }
        let factor = name.isEmpty ? bare : units.first { $0.name == name }?.factor
        guard let factor, !digits.isEmpty else { return nil }
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, let whole = Int(parts[0]) else { return nil }
        let (product, overflow) = whole.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        guard parts.count == 2 else { return product }
        return fraction(parts[1], of: factor).flatMap { part in
            let (sum, overflow) = product.addingReportingOverflow(part)
            return overflow ? nil : sum
        }
    }

    /// The part of `factor` after the point, if it is whole: `.5` of 1024 is 512.
    private static func fraction(_ digits: Substring, of factor: Int) -> Int? {
        guard (1...6).contains(digits.count), let value = Int(digits) else { return nil }
        var scale = 1
        for _ in digits { scale *= 10 }
        let (product, overflow) = value.multipliedReportingOverflow(by: factor)
        guard !overflow, product % scale == 0 else { return nil }
        return product / scale
    }
}
