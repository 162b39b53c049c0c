// SPDX-License-Identifier: Apache-2.0
using System.Text;

namespace HiMo.Trainer;

/// <summary>The cost model beside measured times.</summary>
/// <param name="Cases">Whole runs.</param>
/// <param name="Kernels">Kernels of those runs that were profiled.</param>
internal sealed record GpuModelCheck(IReadOnlyList<GpuModelCheck.WholeCase> Cases, IReadOnlyList<GpuModelCheck.OneKernel> Kernels)
{
    /// <summary>Prices all that was measured.</summary>
    /// <exception cref="UserError">A profile has other launches than the model prices.</exception>
    public static GpuModelCheck Of(GpuModel device, GpuMeasurements measured)
    {
        List<WholeCase> cases = [];
        List<OneKernel> kernels = [];
        foreach (CaseTime time in measured.Cases)
        {
            List<KernelCost> costs = new GpuCostModel(device, time.Kept).Predict(time.Case);
            cases.Add(new WholeCase(time.Case.Text, time.Kept, costs.Sum(cost => cost.Launches), 1e3 * costs.Sum(cost => cost.Seconds), time.Milliseconds));
            if (measured.Profiles.TryGetValue(time.Case.Text, out List<KernelTime>? profile))
            {
                kernels.AddRange(Pair(time, costs, profile));
            }
        }

        return new GpuModelCheck(cases, kernels);
    }

    /// <summary>Both tables in Markdown; of the kernels those that take a notable part of their run.</summary>
    public string ToMarkdown()
    {
        StringBuilder text = new("| N, d, precision, groups | m | launches | predicted, ms | measured, ms | predicted / measured |\n|---|---|---|---|---|---|\n");
        foreach (WholeCase each in Cases)
        {
            _ = text.Append(FormattableString.Invariant(
                $"| {each.Case} | {each.Kept} | {each.Launches} | {each.Predicted:0.000} | {each.Measured:0.000} | {each.Ratio:0.00} |\n"));
        }

        _ = text.Append("\n| case | kernel | launches | predicted, us | measured, us | predicted / measured | follows from |\n|---|---|---|---|---|---|---|\n");
        foreach (OneKernel each in Kernels.Where(each => each.IsNotable))
        {
            _ = text.Append(FormattableString.Invariant(
                $"| {each.Case} | {each.Kernel} | {each.Launches} | {each.Predicted:0.0} | {each.Measured:0.0} | {each.Ratio:0.00} | {each.Limit}{(each.IsFirst ? "; the host, measured" : "")} |\n"));
        }

        return text.ToString();
    }

    // What the events around a launch add is the same for each: what all of them together take more than the run.
    private static IEnumerable<OneKernel> Pair(CaseTime run, List<KernelCost> costs, List<KernelTime> profile)
    {
        if (!costs.Select(cost => (cost.Kernel, cost.Launches)).SequenceEqual(profile.Select(time => (time.Kernel, time.Launches))))
        {
            throw new UserError($"The profile of {run.Case.Text} is of other launches than this version makes; profile it again with 'bench gpu --profile'");
        }

        double added = (profile.Sum(time => time.Seconds) - (1e-3 * run.Milliseconds)) / profile.Sum(time => time.Launches);
        return costs.Zip(profile, (cost, time) => new OneKernel(
            run.Case.Text, cost.Kernel, cost.Launches, 1e6 * cost.Seconds, 1e6 * (time.Seconds - (time.Launches * added)), cost.Limit, time == profile[0], 1e3 * run.Milliseconds));
    }

    /// <summary>A whole run, times in ms.</summary>
    internal sealed record WholeCase(string Case, int Kept, int Launches, double Predicted, double Measured)
    {
        /// <summary>Predicted over measured.</summary>
        public double Ratio => Predicted / Measured;
    }

    /// <summary>
    /// All launches of one kernel in a run, times in microseconds. The first kernel of a profile finds an idle device: the host's time to launch it is in what was measured.
    /// </summary>
    internal sealed record OneKernel(string Case, string Kernel, int Launches, double Predicted, double Measured, string Limit, bool IsFirst, double OfRun)
    {
        /// <inheritdoc cref="WholeCase.Ratio"/>
        public double Ratio => Predicted / Measured;

        /// <summary>Whether it takes more than a twentieth of the run.</summary>
        public bool IsNotable => Measured > 0.05 * OfRun;
    }
}
