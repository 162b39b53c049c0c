// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>What a step's loss says of itself, as <see cref="HiMo.Kernels.MoLoResult"/> names it; a mean over parts where there are several losses.</summary>
internal readonly record struct LossMeasures(
    double Loss, double Global, double Component, double M, double ExplainedVariance, double RelativeGap, double Milliseconds)
{
    /// <summary>The mean of losses that are averaged; times add up.</summary>
    /// <param name="parts">At least one.</param>
    public static LossMeasures Mean(IReadOnlyList<LossMeasures> parts) => parts.Count == 1 ? parts[0] : new(
        parts.Average(part => part.Loss), parts.Average(part => part.Global), parts.Average(part => part.Component), parts.Average(part => part.M),
        parts.Average(part => part.ExplainedVariance), parts.Min(part => part.RelativeGap), parts.Sum(part => part.Milliseconds));
}
