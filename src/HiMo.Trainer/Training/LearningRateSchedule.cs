// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>
/// Linear warm-up, then half a cosine down to zero: rate (step + 1) / warmup below warmup, else rate (1 + cos(pi (step - warmup) / (steps - warmup))) / 2.
/// Source: HiMo-CLIP train/scheduler.py, cosine_lr.
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

    /// <summary>The rate of a step.</summary>
    /// <param name="step">From 0 to <see cref="Steps"/> - 1.</param>
    public double At(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(step, Steps);
        return step < Warmup
            ? BaseRate * (step + 1) / Warmup
            : 0.5 * (1 + Math.Cos(Math.PI * (step - Warmup) / (Steps - Warmup))) * BaseRate;
    }
}
