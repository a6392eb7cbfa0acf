import Platform
import Testing

@testable import Configuration

@Suite struct Quantities {
    @Test(arguments: [
        ("0", 0), ("1048576", 1_048_576), ("64KiB", 65_536), ("1GiB", 1 << 30), ("1MB", 1_000_000),
        ("1.5KiB", 1536), ("2 MiB", 2 << 20), ("7B", 7), ("1TiB", 1 << 40), ("10kB", 10_000),
    ])
    func `sizes are read`(_ text: String, _ bytes: Int) {
        #expect(ByteSize.parse(text) == bytes)
    }

    @Test(arguments: [
        "", "KiB", "1Kib", "-1", "1.", "1.5B", "1..2KiB", "9223372036854775808", "9000000TiB",
        "0x10",
        "1 000", "1.0000001KiB", "٣",
    ])
    func `what is no size is refused`(_ text: String) {
        #expect(ByteSize.parse(text) == nil)
    }

    @Test(arguments: [0, 1, 1000, 1024, 1536, 1_048_588, 1 << 30, Int.max])
    func `a size is written as it is read`(_ bytes: Int) {
        #expect(ByteSize.parse(ByteSize.text(bytes)) == bytes)
    }

    @Test(arguments: [
        (TimeUnit.milliseconds, "100", 100), (.milliseconds, "5s", 5_000),
        (.milliseconds, "7d", 604_800_000), (.hours, "7d", 168), (.hours, "168", 168),
        (.minutes, "2h", 120), (.milliseconds, "1.5s", 1500), (.milliseconds, "-1", -1),
    ])
    func `durations are read in the setting's unit`(_ unit: TimeUnit, _ text: String, _ n: Int) {
        #expect(unit.parse(text) == n)
    }

    @Test(arguments: [
        (TimeUnit.hours, "90m"), (.minutes, "30s"), (.milliseconds, "5 years"), (.hours, "-2"),
        (.milliseconds, "s"), (.milliseconds, ""),
    ])
    func `what is no whole number of the unit is refused`(_ unit: TimeUnit, _ text: String) {
        #expect(unit.parse(text) == nil)
    }

    @Test(arguments: [(TimeUnit.hours, 168, "7d"), (.milliseconds, 1500, "1500ms")])
    func `a duration is written in its largest unit`(_ unit: TimeUnit, _ n: Int, _ text: String) {
        #expect(unit.text(n) == text)
        #expect(unit.parse(text) == n)
    }
}
