// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary>
/// Every operator of the step against the machine's own two limits, measured beforehand: its rate of multiply-adds and its memory
/// bandwidth. Flops are those of the algorithm (a multiply-add is two, an exponential 20), bytes those of operands and results, each
/// once. What stays in a cache may exceed what memory could deliver.
/// </summary>
/// <param name="threads">Threads of the operators and of both limits.</param>
/// <param name="seconds">For each operator.</param>
internal sealed unsafe class Roofline(int threads, double seconds)
{
    private const int ExponentialFlops = 20;
    private const int LimitRounds = 5;
    private const double LogitScale = 4.6052;

    /// <summary>Measures all operators at one shape.</summary>
    /// <param name="rows">N.</param>
    /// <param name="columns">d.</param>
    /// <param name="table">Receives the rows.</param>
    /// <param name="cancel">Checked between two operators.</param>
    public void Measure(int rows, int columns, BenchmarkTable table, CancellationToken cancel)
    {
        // The best of several: a host that others share has slow moments, and a limit taken in one would be exceeded.
        double peak = Enumerable.Range(0, LimitRounds).Max(_ => FmaRate.Measure(threads)), bandwidth = Enumerable.Range(0, LimitRounds).Max(_ => MemoryRate.Measure(threads));
        using WorkerPool pool = new(threads);
        using Workspace workspace = new();
        int small = Math.Min(rows, columns);
        double n = rows, d = columns, k = small, all = n * d, logits = n * n;
        float* images = Features(workspace, rows, columns, 1);
        float* texts = Features(workspace, rows, columns, 2);
        float* unit = workspace.Floats(rows, columns);
        float* centered = workspace.Floats(rows, columns);
        float* grad = workspace.Floats(rows, columns);
        double* inverse = workspace.Doubles(rows);
        double* mean = workspace.Doubles(columns);
        CenteredBatch batch = new() { Source = texts, Inverse = inverse, Mean = mean, Centered = centered, Rows = rows, Columns = columns };
        double* scratch = workspace.Doubles(pool.Threads, columns);
        int stride = LogitTile.StrideFor(rows);
        float* product = workspace.Floats(rows, stride);
        float* tileElements = workspace.Floats(rows, stride);
        LogitTile tile = new((nint)tileElements, stride, 0, rows, 0, rows);
        float* gram = workspace.Floats(small, small);
        float* values = workspace.Floats(small);
        float* vectors = workspace.Floats(small, small);
        using EigenSymmetric eigen = new(small, pool);
        GramSide side = CenteredGramReference.Side(rows, columns);
        using TrainingStep step = new(new MoLoOptions(), threads);
        long bytes = (long)rows * stride * sizeof(float);

        void Add(string name, double flops, double traffic, Action run)
        {
            cancel.ThrowIfCancellationRequested();
            double time = Time(run);
            double limit = Math.Min(peak, bandwidth * flops / traffic);
            double rate = flops / time / 1e9;
            table.Add($"{rows}, {columns}", name, flops / 1e6, traffic / 1e6, time * 1e3, rate, traffic / time / 1e9, limit, rate / limit);
        }

        Add("unit rows", 4 * all, 8 * all, () => L2NormalizeCpu.Forward(pool, images, rows, columns, inverse, unit));
        L2NormalizeCpu.Forward(pool, texts, rows, columns, inverse, null);
        Add("mean and centring", 5 * all, 8 * all, () => BatchMeanCpu.Forward(pool, batch));
        Add("Gram or covariance", all * k, 4 * (all + (k * k / 2)), () => CenteredGramCpu.Forward(pool, centered, rows, columns, side, gram));
        Add("eigensystem", 14.0 / 3.0 * k * k * k, 8 * k * k, () => eigen.Decompose(gram, values, vectors));
        Add("logits' product", 2 * logits * d, 4 * ((2 * all) + logits), () => Gemm.Multiply(pool, rows, rows, columns, 1.0f, unit, columns, 1, centered, 1, columns, 0.0f, product, stride));
        Workspace statistics = new();
        ContrastiveLossCpu loss = default;
        void Accumulate()
        {
            statistics.Reset();
            Buffer.MemoryCopy(product, tileElements, bytes, bytes);
            loss = ContrastiveLossCpu.Begin(statistics, rows, rows, 0, Math.Exp(LogitScale), 0.1, null, null);
            loss.RowWeight = loss.ColumnWeight = 0.5f / rows;
            loss.Accumulate(pool, tile, columnDirection: true);
        }

        Add("softmax statistics, both directions", ((2 * ExponentialFlops) + 6) * logits, 8 * logits, Accumulate);
        Accumulate();
        _ = loss.Finish(columnDirection: true);
        Add("gradient of the logits", ((2 * ExponentialFlops) + 12) * logits, 8 * logits, () => loss.Gradient(pool, tile, null));
        statistics.Dispose();
        Add("gradient's product", 2 * logits * d, 4 * ((2 * all) + logits), () => Gemm.Multiply(pool, rows, columns, rows, 1.0f, product, 1, stride, unit, columns, 1, 0.0f, grad, columns));
        Add("back through the norms", 8 * all, 12 * all, () => L2NormalizeCpu.Backward(pool, texts, rows, columns, inverse, 1.0, grad, null, mean, null, scratch));

        float* other = workspace.Floats(rows, columns);
        int m = Run(step, images, texts, grad, other, rows, columns).M;
        Add("whole step", StepFlops(n, d, m), 16 * all, () => Run(step, images, texts, grad, other, rows, columns));
        table.Notes.Add(($"peak_gflops_{rows}_{columns}", FormattableString.Invariant($"{rows}, {columns} (m = {m}): multiply-adds {peak:F0} GFLOP/s, memory {bandwidth:F1} GB/s, {threads} threads"), peak));
        table.Notes.Add(($"bandwidth_gbps_{rows}_{columns}", "", bandwidth));
    }

    /// <summary>A table without rows.</summary>
    public static BenchmarkTable NewTable() => new(
        "roofline", ("shape", "N, d", ""), ("op", "operator", ""), ("mflop", "MFLOP", "F1"), ("mbyte", "MB", "F2"), ("ms", "ms", "F3"), ("gflops", "GFLOP/s", "F1"),
        ("gbps", "GB/s", "F1"), ("limit_gflops", "limit, GFLOP/s", "F1"), ("share", "share of the limit", "P0"));

    // Products and eigensystem alone: the rest is below a tenth.
    private static double StepFlops(double n, double d, double m)
    {
        double k = Math.Min(n, d), dropped = k - m, eigen = 14.0 / 3.0 * k * k * k;
        return n <= d
            ? (9 * n * n * d) + eigen + (4 * n * n * n) + (4 * n * n * m) + (6 * n * m * dropped) + (2 * n * n * Math.Min(m, dropped))
            : (n * d * d) + eigen + (4 * n * d * d) + (6 * n * n * d) + (6 * n * n * m) + (2 * n * d * m) + (8 * n * m * dropped) + (2 * n * d * d);
    }

    private static MoLoResult Run(TrainingStep step, float* images, float* texts, float* gradImages, float* gradTexts, int rows, int columns)
    {
        int count = rows * columns;
        return step.Run(
            new(new ReadOnlySpan<float>(images, count), rows, columns), new(new ReadOnlySpan<float>(texts, count), rows, columns), LogitScale,
            new(new Span<float>(gradImages, count), rows, columns), new(new Span<float>(gradTexts, count), rows, columns));
    }

    private static float* Features(Workspace workspace, int rows, int columns, int seed)
    {
        float* x = workspace.Floats(rows, columns);
        SeededRandom random = new(seed);
        for (int i = 0; i < rows * columns; i++)
        {
            x[i] = MathF.Pow((i % columns) + 1, -0.5f) * (float)((2.0 * random.NextDouble()) - 1.0);
        }

        return x;
    }

    private double Time(Action run)
    {
        run();
        double best = double.PositiveInfinity;
        long start = Stopwatch.GetTimestamp();
        do
        {
            long begin = Stopwatch.GetTimestamp();
            run();
            best = Math.Min(best, Stopwatch.GetElapsedTime(begin).TotalSeconds);
        }
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < seconds);
        return best;
    }
}
