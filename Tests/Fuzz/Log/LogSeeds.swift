import FuzzDriver

/// Damage of every kind to every log, and forged logs of a few batches.
enum LogSeeds {
    static func all() -> [FuzzProgram.Seed] {
        var seeds: [FuzzProgram.Seed] = []
        let kinds = ["flip", "zeros", "truncated", "longer", "torn", "misplaced"]
        for image in 0..<UInt8(LogImage.all.count) {
            for (kind, name) in kinds.enumerated() {
                let at: [UInt8] = kind % 2 == 0 ? [0x12, 0x34] : [0x23, 0x01]
                seeds.append(
                    ("damaged-\(image)-\(name)", [0, image, 1, UInt8(kind)] + at + [2, 9])
                )
            }
        }
        // A batch of one record with four bytes of payload, and one of two.
        let one: [UInt8] = [1, 1, 5, 0, 1, 0, 4]
        let two: [UInt8] = [1, 2, 5, 0, 2, 0, 4, 6, 2, 1, 1, 0]
        seeds += [
            ("forged-one-file", [1, 0x80] + one + two),
            ("forged-two-files", [1, 0x40] + one + two + [0, 0x40] + one),
            ("forged-closed", [1, 0x80] + one + two + [3, 0]),
            ("forged-empty-files", [1, 0x40, 0, 0x40, 0, 0x40]),
            ("forged-gap", [1, 0x80] + one + [4, 4] + two),
            ("forged-free-and-new", [1, 0x80] + one + [7, 0, 8, 7, 1, 8] + two),
            ("forged-length", [1, 0x80, 1, 0x11, 5, 0, 1, 0, 4, 0, 0, 0x20, 0] + one),
            ("forged-kind", [1, 0x80] + one + [1, 0x41, 5, 0, 2, 0, 4, 9, 0]),
        ]
        return seeds
    }
}
