// SPDX-License-Identifier: Apache-2.0
using BenchmarkDotNet.Attributes;
using HiMo.Kernels;

/// <summary>The whole step on features whose spectrum falls like a power law: forward alone, and forward with backward.</summary>
[MemoryDiagnoser]
public class TrainingStepBenchmarks
{
    private float[] _images = [];
    private float[] _texts = [];
    private float[] _gradient = [];
    private int _rows;
    private int _columns;
    private TrainingStep? _step;

    [Params("128x512", "128x768", "256x512", "1024x512", "1024x768", "4096x768")]
    public string Shape { get; set; } = "";

    [Params(1, 2)]
    public int Threads { get; set; }

    [Params(BasisGradient.Exact, BasisGradient.Stopped)]
    public BasisGradient Basis { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        string[] sides = Shape.Split('x');
        (_rows, _columns) = (int.Parse(sides[0]), int.Parse(sides[1]));
        Random random = new(1);
        _images = new float[_rows * _columns];
        _texts = new float[_images.Length];
        _gradient = new float[2 * _images.Length];
        for (int i = 0; i < _images.Length; i++)
        {
            float size = MathF.Pow((i % _columns) + 1, -0.6f);
            _texts[i] = size * ((2.0f * random.NextSingle()) - 1.0f);
            _images[i] = (0.7f * _texts[i]) + (size * ((2.0f * random.NextSingle()) - 1.0f));
        }

        _step = new TrainingStep(new MoLoOptions { BasisGradient = Basis }, Threads);
    }

    [Benchmark]
    public MoLoResult Forward() => _step!.Run(new(_images, _rows, _columns), new(_texts, _rows, _columns), 4.6052, default, default);

    [Benchmark]
    public MoLoResult ForwardBackward() => _step!.Run(
        new(_images, _rows, _columns),
        new(_texts, _rows, _columns),
        4.6052,
        new(_gradient.AsSpan(0, _images.Length), _rows, _columns),
        new(_gradient.AsSpan(_images.Length), _rows, _columns));

    [GlobalCleanup]
    public void Cleanup() => _step?.Dispose();
}
