// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>One kernel's share of a step.</summary>
/// <param name="Kernel">Its name with the structures it is made of.</param>
/// <param name="Launches">How often it is launched.</param>
/// <param name="Flops">Multiplications and additions, one product counted once in every precision.</param>
/// <param name="Bytes">Read or written at least once.</param>
/// <param name="Exponentials">Exponentials.</param>
/// <param name="Seconds">Predicted, with the gaps between launches.</param>
/// <param name="Limit">What the time follows from.</param>
internal sealed record KernelCost(string Kernel, int Launches, double Flops, double Bytes, double Exponentials, double Seconds, string Limit)
{
    /// <summary>One launch, whose time is the largest of some.</summary>
    public static KernelCost Of(LaunchEntry launch, double flops, double bytes, double exponentials, params (double Seconds, string Limit)[] limits)
    {
        (double seconds, string limit) = limits.MaxBy(each => each.Seconds);
        return new(launch.Name, 1, flops, bytes, exponentials, seconds + GpuModel.LaunchGap, limit);
    }

    /// <summary>Launches of one kernel together.</summary>
    public static KernelCost Sum(string kernel, IReadOnlyCollection<KernelCost> costs) => new(
        kernel, costs.Sum(each => each.Launches), costs.Sum(each => each.Flops), costs.Sum(each => each.Bytes), costs.Sum(each => each.Exponentials),
        costs.Sum(each => each.Seconds), costs.MaxBy(each => each.Seconds)!.Limit);
}
