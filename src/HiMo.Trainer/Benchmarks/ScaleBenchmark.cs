// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text.Json.Nodes;
using HiMo.Interop;
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>Which implementation of the loss.</summary>
internal enum LossForm
{
    /// <summary>The fused operator.</summary>
    Fused,

    /// <summary>The authors' structure: autograd through the SVD.</summary>
    Svd,

    /// <summary>The fastest exact plain form: autograd through eigh of the smaller side.</summary>
    Eigh,
}

/// <summary>Time and peak memory of forward and backward as the batch grows.</summary>
/// <param name="Rows">N.</param>
/// <param name="Columns">d.</param>
/// <param name="Form">Which implementation.</param>
/// <param name="Threads">Threads.</param>
internal sealed record ScaleBenchmark(int Rows, int Columns, LossForm Form, int Threads)
{
    private const double LogitScale = 4.6052;
    private const double EnoughSeconds = 10.0;
    private const int MaxRuns = 5;
    private const double MiB = 1 << 20;

    /// <summary>A table without rows.</summary>
    public static BenchmarkTable NewTable() => new(
        "scale", ("n", "N", ""), ("dim", "d", ""), ("form", "form", ""), ("m", "m", ""), ("seconds", "time, s", "G3"), ("peak_mib", "peak memory, MiB", "F0"), ("status", "", ""));

    /// <summary>Measures in this process, whose peak must not have been used for anything larger.</summary>
    /// <param name="table">Receives one row.</param>
    /// <param name="progress">Share of the call that is done, above 0 to 1, for the fused form and many rows.</param>
    /// <param name="cancel">Checked between two runs.</param>
    public void Measure(BenchmarkTable table, Action<double> progress, CancellationToken cancel)
    {
        TorchLoader.EnsureLoaded();
        set_num_threads(Threads);
        using DisposeScope scope = NewDisposeScope();
        (Tensor images, Tensor texts) = PowerLawFeatures.Create(Rows, Columns, 1);
        Tensor scale = tensor((float)LogitScale);
        (double seconds, double bytes, int m) = Form == LossForm.Fused ? MeasureFused(images, texts, progress, cancel) : MeasurePlain(images, texts, scale, cancel);
        table.Add(Rows, Columns, $"{Form}".ToLowerInvariant(), m, seconds, bytes / MiB, "");
    }

    /// <summary>Adds the row that a child process printed.</summary>
    public static void AddChildRow(BenchmarkTable table, string json)
    {
        JsonNode row = JsonNode.Parse(json)!["rows"]![0]!;
        table.Add((int)row["n"]!, (int)row["dim"]!, (string)row["form"]!, (int)row["m"]!, (double)row["seconds"]!, (double)row["peak_mib"]!, "");
    }

    /// <summary>Notes the exponents of N, by least squares in logarithms over a form's rows.</summary>
    public static void FitExponents(BenchmarkTable table)
    {
        foreach (IGrouping<string, object?[]> form in table.Rows.Where(row => table.Cell(row, "seconds") is not null).GroupBy(row => (string)table.Cell(row, "form")!))
        {
            foreach ((string key, string what) in new[] { ("seconds", "time"), ("peak_mib", "memory") })
            {
                (double X, double Y)[] points =
                    [.. form.Select(row => (Math.Log((int)table.Cell(row, "n")!), Math.Log(Math.Max((double)table.Cell(row, key)!, 1e-9))))];
                if (points.Length >= 2)
                {
                    double meanX = points.Average(point => point.X), meanY = points.Average(point => point.Y);
                    double slope = points.Sum(point => (point.X - meanX) * (point.Y - meanY)) / points.Sum(point => (point.X - meanX) * (point.X - meanX));
                    table.Notes.Add(($"{form.Key}_{what}_exponent", FormattableString.Invariant($"{form.Key}: {what} grows as N^{slope:F2}"), slope));
                }
            }
        }
    }

    private (double Seconds, double Bytes, int M) MeasureFused(Tensor images, Tensor texts, Action<double> progress, CancellationToken cancel)
    {
        Tensor gradImages = zeros_like(images), gradTexts = zeros_like(texts);
        using TrainingStep step = new(new MoLoOptions(), Threads);
        step.Progress += share =>
        {
            cancel.ThrowIfCancellationRequested();
            progress(share);
        };
        int m = 0;
        (double seconds, double bytes) = Time(
            () => m = step.Run(TensorMemory.Read(images), TensorMemory.Read(texts), LogitScale, TensorMemory.Write(gradImages), TensorMemory.Write(gradTexts)).M, cancel);
        return (seconds, bytes, m);
    }

    private (double Seconds, double Bytes, int M) MeasurePlain(Tensor images, Tensor texts, Tensor scale, CancellationToken cancel)
    {
        using PlainMoLoLoss loss = new(new MoLoOptions(), Form == LossForm.Svd ? PlainMethod.Svd : PlainMethod.Eigh);
        Tensor[] inputs = [images.requires_grad_(), texts.requires_grad_(), scale.requires_grad_()];
        (double seconds, double bytes) = Time(
            () =>
            {
                using DisposeScope step = NewDisposeScope();
                loss.forward(inputs[0], inputs[1], inputs[2]).backward();
                foreach (Tensor input in inputs)
                {
                    input.grad = null;
                }
            },
            cancel);
        return (seconds, bytes - (2.0 * Rows * Columns * sizeof(float)), loss.LastM);
    }

    // The peak is that of the first call; a long call is not repeated.
    private static (double Seconds, double Bytes) Time(Action call, CancellationToken cancel)
    {
        GC.Collect();
        double before = PeakMemory.Restart();
        double best = double.PositiveInfinity, total = 0.0, bytes = 0.0;
        for (int run = 0; run < MaxRuns && total < EnoughSeconds; run++)
        {
            cancel.ThrowIfCancellationRequested();
            long start = Stopwatch.GetTimestamp();
            call();
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            total += seconds;
            best = Math.Min(best, seconds);
            bytes = run == 0 ? PeakMemory.Read() - before : bytes;
        }

        return (best, bytes);
    }
}
