// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary><c>bench predict</c>: what the cost model says about a training step on a GPU, kernel by kernel. No GPU takes part.</summary>
internal static class BenchPredictCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private enum DeviceName
    {
        H100,
        H200,
    }

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<int> rows = new("--n") { Description = "Rows of the batch.", HelpName = "N", DefaultValueFactory = _ => 128 };
        Option<int> columns = new("--dim") { Description = "Width of the features.", HelpName = "D", DefaultValueFactory = _ => 768 };
        Option<int> groups = new("--groups") { Description = "Independent batches in one call; for N up to D they share launches.", HelpName = "G", DefaultValueFactory = _ => 1 };
        Option<int?> kept = new("--kept") { Description = "Number m of kept components. [0.45 min(N, D)]", HelpName = "M" };
        Option<bool> hide = new("--hide") { Description = "HiDe alone, forward and backward." };
        Option<DeviceName> device = ChoiceOption.Create("--device", DeviceName.H200, "Whose peaks are assumed.");
        Option<GpuPrecision> precision = ChoiceOption.Create("--precision", GpuPrecision.Strict, "Of the contrastive products.");
        Option<bool> json = new("--json") { Description = "Print one JSON object." };
        Option<bool> check = new("--check") { Description = "Instead: the model beside all times in --results, which an H200 took." };
        Option<string> results = new("--results") { Description = "Folder with bench-COMMIT.json and profile.txt.", HelpName = "DIR", DefaultValueFactory = _ => Path.Combine("perf", "results", "gpu") };
        Command command = new("predict", "A cost model of the step on a GPU: operations, bytes, exponentials, launches and time of each kernel; nothing is measured.")
        {
            rows, columns, groups, kept, hide, device, precision, json, check, results,
        };
        command.Set((parse, _) =>
        {
            TextWriter output = parse.InvocationConfiguration.Output;
            if (parse.GetValue(check))
            {
                output.Write(GpuModelCheck.Of(GpuModel.H200, GpuMeasurements.Read(parse.GetValue(results)!)).ToMarkdown());
                return;
            }

            MatrixShape shape = new(parse.GetValue(rows), parse.GetValue(columns));
            Check(shape.Rows is >= 1 and <= 1 << 22, "--n", shape.Rows, "from 1 to 4194304");
            Check(shape.Columns is >= 1 and <= 1 << 14, "--dim", shape.Columns, "from 1 to 16384");
            int batches = parse.GetValue(groups), smaller = Math.Min(shape.Rows, shape.Columns);
            Check(batches >= 1, "--groups", batches, "1 or more");
            int m = parse.GetValue(kept) ?? Math.Max(1, (int)(0.45 * smaller));
            Check(m >= 1 && m <= smaller, "--kept", m, $"from 1 to {smaller}");
            string what = parse.GetValue(hide) ? "HiDe alone" : parse.GetValue(precision).ToString().ToLowerInvariant();
            GpuCase work = new($"{batches} x ({shape}), m = {m}, {what}", shape, new GpuStepSettings { Precision = parse.GetValue(precision), Groups = batches }, parse.GetValue(hide));
            Prediction prediction = new(work, m, parse.GetValue(device) == DeviceName.H100 ? GpuModel.H100 : GpuModel.H200);
            output.Write(parse.GetValue(json) ? prediction.ToJson().ToJsonString(s_indented) + "\n" : prediction.ToText());
        });
        return command;
    }

    private static void Check(bool condition, string option, int value, string wanted)
    {
        if (!condition)
        {
            throw new UserError($"{option} must be {wanted}; it is {value}");
        }
    }

    /// <summary>One prediction with the words around it.</summary>
    private sealed class Prediction
    {
        private readonly string _title;
        private readonly string? _missing;
        private readonly GpuModel _device;
        private readonly List<KernelCost> _kernels;

        public Prediction(GpuCase work, int m, GpuModel device)
        {
            _device = device;
            _title = work.Text;
            _kernels = new GpuCostModel(device, m).Predict(work);
            try
            {
                TrainingStepGpu.CheckSupported(work.Shape, new MoLoOptions(), work.Settings);
            }
            catch (NotSupportedException missing)
            {
                _missing = missing.Message;
            }
        }

        private KernelCost Total => KernelCost.Sum("all", _kernels) with { Limit = "" };

        public string ToText()
        {
            StringBuilder text = new();
            _ = text.AppendLine(_title).AppendLine(_device.Describe());
            if (_missing is not null)
            {
                _ = text.AppendLine($"planned, not there yet: {_missing}");
            }

            _ = text.AppendLine($"{"us",10} {"launches",8} {"GFLOP",10} {"MB",9} {"Mexp",9}  {"follows from",-24}  kernel");
            foreach (KernelCost each in _kernels.Append(Total))
            {
                _ = text.AppendLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{each.Seconds * 1e6,10:0.0} {each.Launches,8} {each.Flops / 1e9,10:0.000} {each.Bytes / 1e6,9:0.0} {each.Exponentials / 1e6,9:0.00}  {each.Limit,-24}  {each.Kernel}"));
            }

            return text.Replace("\r", "").ToString();
        }

        public JsonObject ToJson() => new()
        {
            ["configuration"] = _title,
            ["assumptions"] = _device.Describe(),
            ["missing"] = _missing,
            ["total"] = ToJson(Total),
            ["kernels"] = new JsonArray([.. _kernels.Select(ToJson)]),
        };

        private static JsonObject ToJson(KernelCost cost) => new()
        {
            ["kernel"] = cost.Kernel,
            ["launches"] = cost.Launches,
            ["flops"] = cost.Flops,
            ["bytes"] = cost.Bytes,
            ["exponentials"] = cost.Exponentials,
            ["microseconds"] = cost.Seconds * 1e6,
            ["limit"] = cost.Limit,
        };
    }
}
