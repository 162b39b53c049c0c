// SPDX-License-Identifier: Apache-2.0
// What the emulation cannot show: real sizes, streams, graphs, threads, memory. HIMO_TEST_GPU=1 runs it, and the other fixtures, on the first
// CUDA device. Inputs are new at every run; the seed is in the name of what failed.
using HiMo.Trainer;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

[TestFixture]
internal sealed class CudaDeviceTests
{
    private const float LogitScale = 4.6052f;
    private const double MinGap = 3e-4;                // below it the gradient's condition, not the kernel, decides

    private readonly int _seed = Environment.TickCount & 0xfffff;
    private Gpu _gpu = null!;

    [OneTimeSetUp]
    public void Open()
    {
        TestGpu.NeedsDevice();
        _gpu = TestGpu.Open();
        TestContext.Out.WriteLine($"{_gpu.Description}, seed {_seed}");
    }

    [TestCase(2, 768, GpuPrecision.Strict)]
    [TestCase(127, 769, GpuPrecision.Strict)]
    [TestCase(128, 768, GpuPrecision.Strict)]
    [TestCase(128, 768, GpuPrecision.Tf32)]
    [TestCase(128, 768, GpuPrecision.Bf16)]
    [TestCase(176, 512, GpuPrecision.Strict)]
    [TestCase(177, 512, GpuPrecision.Strict)]
    [TestCase(200, 128, GpuPrecision.Strict)]
    [TestCase(512, 512, GpuPrecision.Strict)]
    [TestCase(513, 511, GpuPrecision.Tf32)]
    [TestCase(1024, 512, GpuPrecision.Strict)]
    [TestCase(1024, 768, GpuPrecision.Strict)]
    [TestCase(1024, 768, GpuPrecision.Bf16)]
    [TestCase(1000, 1280, GpuPrecision.Strict)]
    [TestCase(4096, 768, GpuPrecision.Tf32)]
    [TestCase(8192, 768, GpuPrecision.Strict)]
    [TestCase(8192, 768, GpuPrecision.Bf16)]
    public void A_step_of_real_size_agrees_with_the_processor(int n, int d, GpuPrecision precision)
    {
        (float[] images, float[] texts, StepRun expected) = Draw(n, d, new MoLoOptions());
        GpuStepRun run = GpuStepRun.Of(_gpu, images, texts, n, d, LogitScale, new MoLoOptions(), TestGpu.Settings with { Precision = precision });
        (double loss, double gradient) = precision switch
        {
            GpuPrecision.Strict => (5e-6, 1e-3),
            GpuPrecision.Tf32 => (5e-3, 3e-2),
            _ => (3e-2, 1e-1),
        };
        double images2 = Expect.GradientError(Batch.Widen(run.GradImages), Batch.Widen(expected.GradImages));
        double texts2 = Expect.GradientError(Batch.Widen(run.GradTexts), Batch.Widen(expected.GradTexts));
        TestContext.Out.WriteLine(
            $"{n} x {d} {precision}: m {run.M}, gap {expected.Result.RelativeGap:0.0e0}, loss {run.Summary[0]:R} {expected.Result.Loss:R}, errors {images2:0.0e0} {texts2:0.0e0}");
        Assert.Multiple(() =>
        {
            Assert.That(run.M, Is.EqualTo(expected.Result.M), $"m, seed {_seed}");
            Expect.Loss(run.Summary[0], expected.Result.Loss, loss, $"loss, seed {_seed}");
            Expect.AtMost(images2, gradient, $"error of the images' gradient, seed {_seed}");
            Expect.AtMost(texts2, gradient, $"error of the texts' gradient, seed {_seed}");
            Expect.LogitScaleGradient(run.Summary[3], expected.Result.GradLogitScale, expected.Result.Loss, gradient);
        });
    }

    // Which group's memory and which problem's matrix a kernel takes. A call of its own takes other tiles, so sums have another order.
    [TestCase(1000, 128, 768)]
    [TestCase(1000, 40, 16)]
    [TestCase(30, 300, 768)]
    public void Many_groups_agree_with_calls_of_their_own(int groups, int n, int d)
    {
        (float[] Images, float[] Texts)[] batches = [.. Enumerable.Range(0, groups).AsParallel().AsOrdered().Select(group => PowerLaw(n, d, _seed + group))];
        GpuStepRun all = GpuStepRun.Of(
            _gpu, [.. batches.SelectMany(each => each.Images)], [.. batches.SelectMany(each => each.Texts)], n, d, LogitScale, new MoLoOptions(),
            TestGpu.Settings with { Groups = groups });
        Assert.That(all.Summary, Is.All.Matches<float>(float.IsFinite), $"seed {_seed}");
        for (int group = groups - 1; group >= 0; group -= groups / 10)
        {
            GpuStepRun own = GpuStepRun.Of(_gpu, batches[group].Images, batches[group].Texts, n, d, LogitScale, new MoLoOptions(), TestGpu.Settings);
            GpuStepRun part = all.Part(group, groups);
            double tolerance = 1e-3 * Math.Max(1.0, MinGap / own.Summary[5]); // the gap at the cut divides the exact gradient's rounding
            Assert.That(Expect.Norm(Batch.Widen(own.GradImages)), Is.Positive, "two times nothing would agree");
            Assert.That(Expect.Norm(Batch.Widen(own.GradTexts)), Is.Positive, "two times nothing would agree");
            Assert.That(part.Kept, Is.EqualTo(own.Kept), $"m of group {group}, seed {_seed}");
            Expect.Loss(part.Summary[0], own.Summary[0], 5e-6, $"loss of group {group}, seed {_seed}");
            Expect.AtMost(Expect.GradientError(Batch.Widen(part.GradImages), Batch.Widen(own.GradImages)), 1e-3, $"images' gradient of group {group}, seed {_seed}");
            Expect.AtMost(Expect.GradientError(Batch.Widen(part.GradTexts), Batch.Widen(own.GradTexts)), tolerance, $"texts' gradient of group {group}, seed {_seed}");
        }
    }

    [TestCase(128, 768)]
    [TestCase(1024, 512)]
    public void Any_stream_a_graph_and_another_thread_give_the_same_bits(int n, int d)
    {
        (float[] images, float[] texts, _) = Draw(n, d, new MoLoOptions());
        using TrainingStepGpu step = new(_gpu, new MatrixShape(n, d), new MoLoOptions());
        float[] first = Results(step, images, texts, (_, run) => run());
        Assert.That(first, Is.All.Matches<float>(float.IsFinite));
        Assert.That(Results(step, images, texts, (_, run) => run()), Is.EqualTo(first), "a second run");
        float[] replayed = Results(step, images, texts, (stream, run) =>
        {
            using CudaGraph graph = CudaGraph.Capture(stream, run);
            graph.Launch(stream);
            graph.Launch(stream);
            stream.Synchronize();
        });
        Assert.That(replayed, Is.EqualTo(first), "a graph");
        float[]?[] both = new float[2][];
        Thread[] threads = [.. Enumerable.Range(0, 2).Select(i => new Thread(() =>
        {
            using TrainingStepGpu own = new(_gpu, new MatrixShape(n, d), new MoLoOptions());
            both[i] = Results(own, images, texts, (_, run) =>
            {
                for (int k = 0; k < 20; k++)
                {
                    run();
                }
            });
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.That(both, Has.All.EqualTo(first), "two threads at once");
    }

    [Test]
    public void Thousands_of_steps_keep_memory_and_bits()
    {
        const int N = 128, D = 768;
        (float[] images, float[] texts, _) = Draw(N, D, new MoLoOptions());
        using TrainingStepGpu step = new(_gpu, new MatrixShape(N, D), new MoLoOptions());
        float[] first = Results(step, images, texts, (_, run) => run());
        CudaDriver.MemoryInfo(out nint before, out _).ThrowIfFailed();
        int steps = TestLength.Pick(1000, 10000);
        _gpu.Log.IsRecording = false;
        float[] last = Results(step, images, texts, (_, run) =>
        {
            for (int i = 0; i < steps; i++)
            {
                run();
            }
        });
        _gpu.Log.IsRecording = true;
        CudaDriver.MemoryInfo(out nint after, out _).ThrowIfFailed();
        Assert.That(last, Is.EqualTo(first));
        Assert.That((long)after, Is.EqualTo((long)before), "free device memory");
    }

    [Test]
    public void Work_of_others_before_and_behind_is_ordered_by_the_stream()
    {
        const int N = 300, D = 64;
        (float[] images, float[] texts, _) = Draw(N, D, new MoLoOptions());
        using TrainingStep step = new(new MoLoOptions(), threads: 1);
        using GpuWorkspace workspace = step.CreateWorkspace(_gpu, new MatrixShape(N, D));
        using AcceleratorStream own = _gpu.Accelerator.CreateStream();
        AcceleratorStream stream = _gpu.WrapStream(((CudaStream)own).StreamPtr);
        using MemoryBuffer1D<float, Stride1D.Dense> v = _gpu.Accelerator.Allocate1D(images), u = _gpu.Accelerator.Allocate1D(texts);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { LogitScale });
        using MemoryBuffer1D<float, Stride1D.Dense> late = _gpu.Allocate<float>(images.Length), gradV = _gpu.Allocate<float>(images.Length);
        using MemoryBuffer1D<float, Stride1D.Dense> copy = _gpu.Allocate<float>(images.Length), gradU = _gpu.Allocate<float>(images.Length);
        GpuMatrix Foreign(MemoryBuffer buffer) => _gpu.Wrap(buffer.NativePtr, N, D);
        float[] expected = [];
        for (int round = 0; round < 20; round++)
        {
            late.MemSetToZero(stream);
            copy.MemSetToZero(stream);
            late.View.BaseView.CopyFrom(stream, v.View.BaseView);        // the images arrive on the same stream
            step.Run(Foreign(late), Foreign(u), _gpu.Wrap(scale.NativePtr, 1, 1), Foreign(gradV), Foreign(gradU), workspace, stream);
            copy.View.BaseView.CopyFrom(stream, gradV.View.BaseView);
            late.MemSetToZero(stream);
            stream.Synchronize();
            float[] now = copy.GetAsArray1D();
            expected = round == 0 ? now : expected;
            Assert.That(now, Is.EqualTo(expected), $"round {round}");
        }

        Assert.That(expected, Is.All.Matches<float>(float.IsFinite).And.Some.Not.Zero);
        Assert.That(workspace.ReadResult(stream).Loss, Is.GreaterThan(0.0));
    }

    [Test]
    public void More_memory_than_there_is_is_refused_and_the_device_goes_on()
    {
        CudaDriver.MemoryInfo(out _, out nint total).ThrowIfFailed();
        Assert.That(
            () => _gpu.Allocate<byte>(2L * total), Throws.InstanceOf<GpuException>().With.Message.Contains("bytes of memory on").And.Message.Contains(_gpu.Description.Name));
        using MemoryBuffer1D<float, Stride1D.Dense> small = _gpu.Accelerator.Allocate1D(new[] { 1.0f, 2.0f });
        Assert.That(small.GetAsArray1D(), Is.EqualTo(new[] { 1.0f, 2.0f }));
    }

    private (float[] Images, float[] Texts, StepRun Expected) Draw(int n, int d, MoLoOptions options)
    {
        for (int attempt = 0; ; attempt++)
        {
            (float[] images, float[] texts) = PowerLaw(n, d, _seed + (attempt << 20));
            StepRun expected = StepRun.Of(images, texts, n, d, LogitScale, options, threads: Environment.ProcessorCount);
            if (n <= 2 || expected.Result.RelativeGap >= MinGap || attempt == 8)
            {
                return (images, texts, expected);
            }
        }
    }

    private static (float[] Images, float[] Texts) PowerLaw(int n, int d, int seed)
    {
        Random random = new(seed);
        float[] size = PowerLawFeatures.Decay(n, d);
        float[] texts = [.. Enumerable.Range(0, n * d).Select(i => size[i % d] * (float)Batch.Normal(random))];
        float[] images = [.. texts.Select((text, i) => text + (PowerLawFeatures.Noise * size[i % d] * (float)Batch.Normal(random)))];
        return (images, texts);
    }

    // Both gradients and the numbers, from outputs that begin as NaN, on a stream of its own.
    private float[] Results(TrainingStepGpu step, float[] images, float[] texts, Action<AcceleratorStream, Action> work)
    {
        using MemoryBuffer1D<float, Stride1D.Dense> v = _gpu.Accelerator.Allocate1D(images), u = _gpu.Accelerator.Allocate1D(texts);
        using MemoryBuffer1D<float, Stride1D.Dense> scale = _gpu.Accelerator.Allocate1D(new[] { LogitScale });
        float[] unset = [.. Enumerable.Repeat(float.NaN, images.Length)];
        using MemoryBuffer1D<float, Stride1D.Dense> gradV = _gpu.Accelerator.Allocate1D(unset), gradU = _gpu.Accelerator.Allocate1D(unset);
        using MemoryBuffer1D<float, Stride1D.Dense> summary = _gpu.Accelerator.Allocate1D(unset[..StepSummary.Length]);
        using AcceleratorStream stream = _gpu.Accelerator.CreateStream();
        _gpu.Accelerator.Synchronize();
        work(stream, () => step.Run(stream, new StepBuffers<float>
        {
            Images = v.View.BaseView, Texts = u.View.BaseView, LogitScale = scale.View.BaseView, GradImages = gradV.View.BaseView, GradTexts = gradU.View.BaseView,
            Summary = summary.View.BaseView,
        }));
        stream.Synchronize();
        return [.. summary.GetAsArray1D(), .. gradV.GetAsArray1D(), .. gradU.GetAsArray1D()];
    }
}
