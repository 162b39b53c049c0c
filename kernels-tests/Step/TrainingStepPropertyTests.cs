// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using FsCheck;
using FsCheck.Fluent;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>What must hold for the float32 step on every batch and every option, on random ones.</summary>
internal sealed class TrainingStepPropertyTests
{
    // Gaps at the cut are a thousandth or more: 2^-24 over such a gap, times the few roundings on the way.
    private const double Tolerance = 5e-4;
    private const double LossTolerance = 5e-6;

    private static readonly Gen<Given> s_given =
        from rows in Gen.Choose(2, 30)
        from columns in Gen.Choose(2, 30)
        from seed in Gen.Choose(1, 100_000)
        from components in Gen.Elements(Enum.GetValues<ComponentSource>())
        from normalization in Gen.Elements(Enum.GetValues<ComponentNormalization>())
        from basis in Gen.Elements(Enum.GetValues<BasisGradient>())
        from gather in Gen.Elements(true, false)
        from tau in Gen.Elements(0.6, 0.8, 0.95)
        select new Given(rows, columns, seed, new MoLoOptions
        {
            Components = components,
            ComponentNormalization = normalization,
            BasisGradient = basis,
            GatherWithGrad = gather,
            Tau = tau,
            Lambda = 0.5,
            GlobalWeight = 1.5,
        });

    [Test]
    public void Permuting_the_pairs_permutes_the_gradients() => ForAll(given =>
    {
        int[] order = [.. Enumerable.Range(0, given.Rows)];
        new Random(given.Seed).Shuffle(order);
        StepRun permuted = given.Run(given.Permute(given.Images, order), given.Permute(given.Texts, order));
        StepRun step = given.Run();
        Expect.Loss(permuted.Result.Loss, step.Result.Loss, LossTolerance, "loss");
        given.Close(permuted.GradImages, given.Permute(step.GradImages, order), "images");
        given.Close(permuted.GradTexts, given.Permute(step.GradTexts, order), "texts");
    });

    [Test]
    public void Rotating_all_features_rotates_the_gradients() => ForAll(given =>
    {
        ReferenceMatrix random = Batch.RandomMatrix(given.Columns, given.Columns, given.Seed);
        ReferenceMatrix rotation = EigenSymmetricReference.Decompose(random + random.T).Vectors;
        StepRun rotated = given.Run(given.Rotate(given.Images, rotation), given.Rotate(given.Texts, rotation));
        StepRun step = given.Run();
        Expect.Loss(rotated.Result.Loss, step.Result.Loss, LossTolerance, "loss");
        Assert.That(rotated.Result.M, Is.EqualTo(step.Result.M), "m");
        given.Close(rotated.GradImages, given.Rotate(step.GradImages, rotation), "images");
        given.Close(rotated.GradTexts, given.Rotate(step.GradTexts, rotation), "texts");
    });

    [Test]
    public void Scaling_a_row_scales_its_gradient_inversely() => ForAll(given =>
    {
        float[] factors = [1e-10f, 1e30f, 8.0f];
        float[] texts = [.. given.Texts.Select((value, i) => value * factors[i / given.Columns % 3])];
        StepRun scaled = given.Run(given.Images, texts);
        StepRun step = given.Run();
        float[] back = [.. scaled.GradTexts.Select((value, i) => value * factors[i / given.Columns % 3])];
        Expect.Loss(scaled.Result.Loss, step.Result.Loss, LossTolerance, "loss");
        given.Close(scaled.GradImages, step.GradImages, "images");
        given.Close(back, step.GradTexts, "texts");
    });

    [Test]
    public void The_loss_is_linear_in_both_weights() => ForAll(given =>
    {
        StepRun global = (given with { Options = given.Options with { GlobalWeight = 1.0, Lambda = 0.0 } }).Run();
        StepRun component = (given with { Options = given.Options with { GlobalWeight = 0.0, Lambda = 1.0 } }).Run();
        StepRun both = (given with { Options = given.Options with { GlobalWeight = 0.3, Lambda = -2.0 } }).Run();
        float[] Mix(float[] first, float[] second) => [.. first.Zip(second, (a, b) => (0.3f * a) - (2.0f * b))];
        Expect.Loss(both.Result.Loss, (0.3 * global.Result.Loss) - (2.0 * component.Result.Loss), LossTolerance, "loss");
        given.Close(both.GradImages, Mix(global.GradImages, component.GradImages), "images");
        given.Close(both.GradTexts, Mix(global.GradTexts, component.GradTexts), "texts");
    });

    [Test]
    public void Gradients_are_orthogonal_to_their_rows() => ForAll(given =>
    {
        StepRun step = given.Run();
        foreach ((float[] features, float[] gradient) in new[] { (given.Images, step.GradImages), (given.Texts, step.GradTexts) })
        {
            for (int i = 0; i < given.Rows; i++)
            {
                double[] row = Batch.Widen(features[(i * given.Columns)..((i + 1) * given.Columns)]);
                double[] own = Batch.Widen(gradient[(i * given.Columns)..((i + 1) * given.Columns)]);
                double along = row.Zip(own, (a, b) => a * b).Sum();

                // The projection itself is float64: only the rounding of the result is left.
                Expect.AtMost(Math.Abs(along), Math.Pow(2.0, -23) * Expect.Norm(row) * Expect.Norm(own), $"part of gradient {i} along its row");
            }
        }
    });

    [Test]
    public void Both_forms_agree_on_either_side_of_a_square() => ForAll(given =>
    {
        // Columns of zeros change no dot product: N = d + 1 goes through factors, the same rows with two more columns through N x N.
        MoLoOptions options = given.Options;
        int columns = given.Columns;
        Given tall = new(columns + 1, columns, given.Seed, options);
        StepRun low = tall.Run();
        StepRun wide = StepRun.Of(Pad(tall.Images, columns, 2), Pad(tall.Texts, columns, 2), columns + 1, columns + 2, Given.LogitScale, options);
        Expect.Loss(wide.Result.Loss, low.Result.Loss, LossTolerance, "loss");
        Assert.That(wide.Result.M, Is.EqualTo(low.Result.M), "m");
        tall.Close(Crop(wide.GradImages, columns, 2), low.GradImages, "images");
        tall.Close(Crop(wide.GradTexts, columns, 2), low.GradTexts, "texts");
    });

    [Test]
    public void Hard_input_gives_finite_results()
    {
        Random random = new(77);
        int count = TestLength.Pick(400, 10_000);
        ComponentSource[] sources = Enum.GetValues<ComponentSource>();
        for (int k = 0; k < count; k++)
        {
            int rows = random.Next(4) == 0 ? 1 : random.Next(1, 20);
            int columns = random.Next(6) == 0 ? 1 : random.Next(1, 20);
            MoLoOptions options = new()
            {
                Tau = random.Next(5) == 0 ? 1.0 : Math.Min(1.0, random.NextDouble() + 1e-3),
                LabelSmoothing = random.Next(2) == 0 ? 0.0 : 0.1,
                Components = sources[random.Next(3)],
                ComponentNormalization = random.Next(2) == 0 ? ComponentNormalization.None : ComponentNormalization.Cosine,
                BasisGradient = random.Next(2) == 0 ? BasisGradient.Exact : BasisGradient.Stopped,
                GatherWithGrad = random.Next(2) == 0,
            };
            double logitScale = random.Next(4) switch { 0 => -100.0, 1 => 80.0, _ => (random.NextDouble() * 12.0) - 4.0 };
            StepRun run = StepRun.Of(HardRows(random, rows, columns), HardRows(random, rows, columns), rows, columns, logitScale, options, threads: 1);
            Assert.That(run.IsFinite(), $"case {k}: {rows} x {columns}, logit scale {logitScale}, {options}");
        }
    }

    [Test]
    public void Many_threads_at_once_get_the_right_bits_and_flat_memory()
    {
        const int Callers = 16;
        const long MoreMemory = 64L << 20;                // what the runtime itself may take meanwhile
        Given[] batches = [.. Enumerable.Range(0, 4).Select(k => new Given(10 + (9 * k), 24, k + 1, new MoLoOptions()))];
        StepRun[] expected = [.. batches.Select(batch => batch.Run())];
        TimeSpan length = TimeSpan.FromSeconds(TestLength.Pick(2, 600));
        int wrong = 0;
        using CountdownEvent warm = new(Callers);
        Thread[] callers = [.. Enumerable.Range(0, Callers).Select(caller => new Thread(() =>
        {
            using TrainingStep step = new(new MoLoOptions(), threads: 2);
            long start = Stopwatch.GetTimestamp();
            for (int round = 0; round < 2 * batches.Length || Stopwatch.GetElapsedTime(start) < length; round++)
            {
                int k = (caller + round) % batches.Length;
                Given batch = batches[k];
                StepRun run = StepRun.Of(step, batch.Images, batch.Texts, batch.Rows, batch.Columns, Given.LogitScale);
                bool same = run.Result == expected[k].Result && run.GradImages.AsSpan().SequenceEqual(expected[k].GradImages) && run.GradTexts.AsSpan().SequenceEqual(expected[k].GradTexts);
                if (!same)
                {
                    Interlocked.Increment(ref wrong);
                }

                if (round == batches.Length)
                {
                    warm.Signal();
                }
            }
        }))];
        Array.ForEach(callers, caller => caller.Start());
        warm.Wait();
        long before = Environment.WorkingSet;
        Array.ForEach(callers, caller => caller.Join());
        Assert.That(wrong, Is.Zero);
        Assert.That(Environment.WorkingSet - before, Is.LessThan(MoreMemory), "bytes of memory that the callers took after their first rounds");
    }

    [Test]
    public void Nothing_beyond_the_callers_memory_is_touched([Values(1, 5, 17, 33, 48)] int rows, [Values(1, 7, 16, 40)] int columns, [Values] ComponentSource components)
    {
        Batch batch = Batch.Create(Math.Max(rows, 2), Math.Max(columns, 2));
        int count = rows * columns;
        using GuardedMemory images = new(batch.SingleImages.AsSpan(0, count));
        using GuardedMemory texts = new(batch.SingleTexts.AsSpan(0, count));
        using GuardedMemory gradImages = new(count);
        using GuardedMemory gradTexts = new(count);
        using TrainingStep step = new(new MoLoOptions { Components = components }, threads: 2);
        _ = step.Run(new(images.Span, rows, columns), new(texts.Span, rows, columns), 2.0, new(gradImages.Span, rows, columns), new(gradTexts.Span, rows, columns));
        Assert.That(gradImages.Span.ToArray().Concat(gradTexts.Span.ToArray()), Is.All.Matches<float>(float.IsFinite), "all of it was written");
    }

    [Test]
    public void Progress_of_a_long_call_rises_to_one()
    {
        const int Rows = LogitBranch.TileRows + 5;
        List<double> shares = [];
        float[] features = Batch.Single(Batch.RandomMatrix(Rows, 4, 3).Elements);
        using TrainingStep step = new(new MoLoOptions());
        step.Progress += shares.Add;
        StepRun.Of(step, features, features, Rows, 4, 1.0);
        Assert.That(shares, Has.Count.EqualTo(2 * 2 * 4), "two branches, forward and back, four tiles");
        Assert.That(shares, Is.Ordered);
        Assert.That(shares[^1], Is.EqualTo(1.0));
        shares.Clear();
        StepRun.Of(step, features[..40], features[..40], 10, 4, 1.0);
        Assert.That(shares, Is.Empty);
    }

    [Test]
    public void Memory_grows_with_the_rows_and_not_with_their_square()
    {
        const int Columns = 64;
        long Floats(int rows)
        {
            float[] features = Batch.Single(Batch.RandomMatrix(rows, Columns, 3).Elements);
            using TrainingStep step = new(new MoLoOptions());
            StepRun.Of(step, features, features, rows, Columns, 1.0);
            return step.WorkspaceFloats;
        }

        // Five matrices of N x d, two of N x m with m <= d, and some vectors; tiles cost the same for both.
        Assert.That(Floats(4096) - Floats(2048), Is.LessThanOrEqualTo(2048 * 8 * Columns));
    }

    private static void ForAll(Action<Given> property) => GeneratedCases.Check(s_given, 25, 1000, property);

    private static float[] HardRows(Random random, int rows, int columns)
    {
        float[] values = new float[rows * columns];
        bool isRankOne = random.Next(4) == 0;
        float[] direction = [.. Enumerable.Range(0, columns).Select(_ => (float)Batch.Normal(random))];
        for (int i = 0; i < rows; i++)
        {
            Span<float> row = values.AsSpan(i * columns, columns);
            float size = random.Next(6) switch { 0 => 1e-30f, 1 => 1e30f, 2 => 1e-41f, _ => 1.0f };
            float along = (float)Batch.Normal(random);
            for (int k = 0; k < columns; k++)
            {
                row[k] = size * (isRankOne ? along * direction[k] : (float)Batch.Normal(random));
            }

            switch (random.Next(6))
            {
                case 0:
                    row.Clear();
                    break;
                case 1 when i > 0:
                    values.AsSpan((i - 1) * columns, columns).CopyTo(row);
                    break;
                case 2 when i > 0:
                    values.AsSpan((i - 1) * columns, columns).CopyTo(row);
                    row[0] = MathF.BitIncrement(row[0]);
                    break;
            }
        }

        return values;
    }

    private static float[] Pad(float[] values, int columns, int more) =>
        [.. values.Chunk(columns).SelectMany(row => row.Concat(Enumerable.Repeat(0.0f, more)))];

    private static float[] Crop(float[] values, int columns, int more) =>
        [.. values.Chunk(columns + more).SelectMany(row => row.Take(columns))];

    /// <summary>One random batch with options.</summary>
    private sealed record Given(int Rows, int Columns, int Seed, MoLoOptions Options)
    {
        public const double LogitScale = 2.0;

        private readonly Batch _batch = Batch.Create(Rows, Columns, Seed, Options.Tau);

        public float[] Images => _batch.SingleImages;

        public float[] Texts => _batch.SingleTexts;

        public StepRun Run() => Run(Images, Texts);

        public StepRun Run(float[] images, float[] texts) => StepRun.Of(images, texts, Rows, Columns, LogitScale, Options, threads: 1);

        public float[] Rotate(float[] values, ReferenceMatrix rotation) =>
            Batch.Single((new ReferenceMatrix(Batch.Widen(values), Rows, Columns) * rotation).Elements);

        public float[] Permute(float[] values, int[] order) => [.. order.SelectMany(row => values.Skip(row * Columns).Take(Columns))];

        /// <summary>Equal as gradients; where a gradient is small because its parts cancel, the parts' size counts.</summary>
        public void Close(float[] actual, float[] expected, string name)
        {
            double[] wanted = Batch.Widen(expected);
            double tolerance = Tolerance * Math.Max(1.0, 0.05 / Math.Max(Expect.Norm(wanted), 1e-6));
            Expect.Gradient(Batch.Widen(actual), wanted, tolerance, name);
        }
    }
}
