// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class LearningRateScheduleTests
{
    [Test]
    public void Golden_rates()
    {
        using JsonDocument manifest = JsonDocument.Parse(File.ReadAllText(TestData.Get("golden", "schedule", "manifest.json")));
        foreach (JsonElement given in manifest.RootElement.GetProperty("cases").EnumerateArray())
        {
            int steps = given.GetProperty("steps").GetInt32();
            double baseRate = given.GetProperty("base_lr").GetDouble();
            LearningRateSchedule schedule = new(baseRate, given.GetProperty("warmup_length").GetInt32(), steps);
            double[] expected = NpyFile.Read<double>(TestData.Get("golden", "schedule", given.GetProperty("file").GetString()!)).Elements;
            double[] actual = [.. Enumerable.Range(0, steps).Select(step => schedule.At(step))];

            // Two libraries' cosines differ by one rounding: at most one ulp of 1 + cos, 2.2e-16, and one more from rounding the product.
            Assert.That(actual, Is.EqualTo(expected).Within(4.5e-16 * baseRate));
        }
    }

    [Test]
    public void Constant_and_cooldown_hold_the_rate_and_all_fall_to_the_final_share()
    {
        LearningRateSchedule constant = new(1.0, 2, 10) { Kind = RateSchedule.Constant }, cooldown = constant with { Kind = RateSchedule.Cooldown, Cooldown = 4, FinalShare = 0.2 };
        Assert.That(Rates(constant), Is.EqualTo(new[] { 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1 }));
        Assert.That(Rates(cooldown), Is.EqualTo(new[] { 0.6, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4 }).Within(1e-15));

        static double[] Rates(LearningRateSchedule schedule) => [.. Enumerable.Range(0, 10).Select(step => schedule.At(step))];
    }

    [Test]
    public void Steps_outside_the_run_are_refused()
    {
        LearningRateSchedule schedule = new(1e-3, 2, 10);
        Assert.Multiple(() =>
        {
            Assert.That(() => schedule.At(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
            Assert.That(() => schedule.At(10), Throws.TypeOf<ArgumentOutOfRangeException>());
        });
    }

    [TestCase(-1e-3, 2, 10, "-0.001")]
    [TestCase(double.NaN, 2, 10, "NaN")]
    [TestCase(double.PositiveInfinity, 2, 10, "Infinity")]
    [TestCase(1e-3, 11, 10, "11 of warm-up")]
    [TestCase(1e-3, -1, 10, "-1 of warm-up")]
    [TestCase(1e-3, 0, 0, "0 steps")]
    public void Impossible_schedules_are_refused(double rate, long warmup, long steps, string named) =>
        Assert.That(() => new LearningRateSchedule(rate, warmup, steps), Throws.TypeOf<UserError>().With.Message.Contains(named));
}
