// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// Linear warm-up, then one of <see cref="RateSchedule"/>: rate (step + 1) / warmup below warmup; the cosine is rate (1 + cos(pi (step - warmup) / (steps - warmup))) / 2.
/// Source: HiMo-CLIP train/scheduler.py, cosine_lr; the others as in open_clip.
/// </summary>
internal sealed record LearningRateSchedule
{
    /// <summary>A schedule over a run.</summary>
    /// <param name="baseRate">The highest rate, at least 0.</param>
    /// <param name="warmup">Steps until it is reached, from 0 to <paramref name="steps"/>.</param>
    /// <param name="steps">Length of the run, at least 1.</param>
    /// <exception cref="UserError">A value is outside its range.</exception>
    public LearningRateSchedule(double baseRate, long warmup, long steps)
    {
        if (!(baseRate >= 0 && double.IsFinite(baseRate)))
        {
            throw new UserError($"the learning rate is {baseRate}; it is a number from 0 on");
        }

        if (steps < 1 || warmup < 0 || warmup > steps)
        {
            throw new UserError($"a run of {steps} steps with {warmup} of warm-up is not possible; steps are at least 1, the warm-up at most as long");
        }

        (BaseRate, Warmup, Steps) = (baseRate, warmup, steps);
    }

    /// <summary>The highest rate.</summary>
    public double BaseRate { get; }

    /// <summary>Steps until it is reached.</summary>
    public long Warmup { get; }

    /// <summary>Length of the run.</summary>
    public long Steps { get; }

    /// <summary>How it goes on after the warm-up.</summary>
    public RateSchedule Kind { get; init; }

    /// <summary>Steps of the fall at the end, for <see cref="RateSchedule.Cooldown"/>.</summary>
    public long Cooldown { get; init; }

    /// <summary>Share of the rate that everything falls to, from 0 to 1.</summary>
    public double FinalShare { get; init; }

    /// <summary>The rate of a step.</summary>
    /// <param name="step">From 0 to <see cref="Steps"/> - 1.</param>
    public double At(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(step, Steps);
        double factor = step < Warmup ? (step + 1.0) / Warmup : Kind switch
        {
            RateSchedule.Constant => 1.0,
            RateSchedule.Cooldown => Math.Min(1.0, (double)(Steps - step) / Math.Max(1, Cooldown)),
            _ => 0.5 * (1 + Math.Cos(Math.PI * (step - Warmup) / (Steps - Warmup))),
        };
        return BaseRate * ((factor * (1.0 - FinalShare)) + FinalShare);
    }
}
