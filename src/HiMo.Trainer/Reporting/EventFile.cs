// SPDX-License-Identifier: Apache-2.0
using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Text;

namespace HiMo.Trainer;

/// <summary>
/// Writes one of TensorBoard's event files, record by record, so that what is there can be read at any time. TorchSharp's own writer knows neither
/// the mark that hides the points of a run that was continued, nor images without another imaging library.
/// Source: tensorflow/core/util/event.proto, framework/summary.proto, lib/io/record_writer.h.
/// </summary>
internal sealed class EventFile : IDisposable
{
    private const uint MaskDelta = 0xA282EAD8;
    private const int TextType = 7; // DT_STRING

    private static readonly double[] s_edges = Edges();
    private static int s_count;

    private readonly FileStream _stream;
    private readonly Func<double> _clock;

    /// <summary>Creates a file and writes its first record.</summary>
    /// <param name="folder">Created if it is missing.</param>
    /// <param name="clock">Seconds since 1970; null takes the system's.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public EventFile(string folder, Func<double>? clock = null)
    {
        _clock = clock ?? (() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0);
        double now = _clock();
        Path = System.IO.Path.Combine(folder, string.Create(
            CultureInfo.InvariantCulture, $"events.out.tfevents.{(long)now:D10}.{Environment.MachineName}.{Environment.ProcessId}.{Interlocked.Increment(ref s_count)}"));
        try
        {
            _ = Directory.CreateDirectory(folder);
            _stream = new FileStream(Path, FileMode.Create, FileAccess.Write, FileShare.Read);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new UserError($"{Path}: cannot be written ({failure.Message})", failure);
        }

        Write(new ProtobufMessage().Double(1, now).Text(3, "brain.Event:2"));
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Says that the run goes on from a step: points of earlier files at that step or later are not shown.</summary>
    /// <param name="step">The first step that this file holds.</param>
    public void Start(long step) => Write(Event(step).Message(7, new ProtobufMessage().Number(1, 1)));

    /// <summary>A number.</summary>
    /// <param name="tag">Its name; slashes make groups.</param>
    /// <param name="value">The number.</param>
    /// <param name="step">Its place on the axis.</param>
    public void Scalar(string tag, double value, long step) => Summary(step, new ProtobufMessage().Text(1, tag).Float(2, (float)value));

    /// <summary>A distribution, in the buckets that PyTorch's writer uses.</summary>
    /// <param name="tag">Its name.</param>
    /// <param name="values">At least one finite value.</param>
    /// <param name="step">Its place on the axis.</param>
    public void Histogram(string tag, ReadOnlySpan<double> values, long step)
    {
        double[] counts = new double[s_edges.Length - 1];
        double lowest = double.PositiveInfinity, highest = double.NegativeInfinity, sum = 0.0, squares = 0.0;
        foreach (double value in values)
        {
            int found = Array.BinarySearch(s_edges, value);
            counts[Math.Clamp(found >= 0 ? found : ~found - 1, 0, counts.Length - 1)]++;
            (lowest, highest, sum, squares) = (Math.Min(lowest, value), Math.Max(highest, value), sum + value, squares + (value * value));
        }

        // The occupied range with one empty bucket on its left; a bucket lies below its limit.
        int first = Array.FindIndex(counts, count => count > 0.0), end = Array.FindLastIndex(counts, count => count > 0.0) + 1;
        ProtobufMessage histogram = new ProtobufMessage().Double(1, lowest).Double(2, highest).Double(3, values.Length).Double(4, sum).Double(5, squares)
            .Doubles(6, s_edges.AsSpan(first, end - first + 1)).Doubles(7, [0.0, .. counts.AsSpan(first, end - first)]);
        Summary(step, new ProtobufMessage().Text(1, tag).Message(5, histogram));
    }

    /// <summary>A picture.</summary>
    /// <param name="tag">Its name.</param>
    /// <param name="height">Pixels.</param>
    /// <param name="width">Pixels.</param>
    /// <param name="png">The picture in RGB as a PNG file.</param>
    /// <param name="step">Its place on the axis.</param>
    public void Image(string tag, int height, int width, ReadOnlySpan<byte> png, long step) =>
        Summary(step, new ProtobufMessage().Text(1, tag).Message(4, new ProtobufMessage().Number(1, height).Number(2, width).Number(3, 3).Bytes(4, png)));

    /// <summary>Words.</summary>
    /// <param name="tag">Their name.</param>
    /// <param name="text">Markdown.</param>
    /// <param name="step">Their place on the axis.</param>
    public void Text(string tag, string text, long step)
    {
        ProtobufMessage plugin = new ProtobufMessage().Message(1, new ProtobufMessage().Text(1, "text"));
        ProtobufMessage shape = new ProtobufMessage().Message(2, new ProtobufMessage().Number(1, 1));
        ProtobufMessage tensor = new ProtobufMessage().Number(1, TextType).Message(2, shape).Text(8, text);
        Summary(step, new ProtobufMessage().Text(1, $"{tag}/text_summary").Message(8, tensor).Message(9, plugin));
    }

    public void Dispose() => _stream.Dispose();

    private ProtobufMessage Event(long step) => new ProtobufMessage().Double(1, _clock()).Number(2, step);

    private void Summary(long step, ProtobufMessage value) => Write(Event(step).Message(5, new ProtobufMessage().Message(1, value)));

    private void Write(ProtobufMessage message)
    {
        ReadOnlySpan<byte> payload = message.Content;
        byte[] record = new byte[payload.Length + 16];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedChecksum(record.AsSpan(0, 8)));
        payload.CopyTo(record.AsSpan(12));
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + payload.Length), MaskedChecksum(payload));
        try
        {
            _stream.Write(record);
            _stream.Flush();
        }
        catch (IOException failure)
        {
            throw new UserError($"{Path}: cannot be written ({failure.Message})", failure);
        }
    }

    private static uint MaskedChecksum(ReadOnlySpan<byte> bytes)
    {
        uint checksum = uint.MaxValue;
        foreach (byte value in bytes)
        {
            checksum = BitOperations.Crc32C(checksum, value);
        }

        return BitOperations.RotateRight(~checksum, 15) + MaskDelta;
    }

    /// <summary>0 and both signs of 1e-12 times the powers of 1.1 below 1e20.</summary>
    private static double[] Edges()
    {
        List<double> positive = [];
        for (double edge = 1e-12; edge < 1e20; edge *= 1.1)
        {
            positive.Add(edge);
        }

        return [.. positive.AsEnumerable().Reverse().Select(edge => -edge), 0.0, .. positive];
    }

    /// <summary>A message in protocol buffers' wire format, field by field.</summary>
    private sealed class ProtobufMessage
    {
        private readonly List<byte> _bytes = [];

        public ReadOnlySpan<byte> Content => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_bytes);

        public ProtobufMessage Number(int field, long value) => Tag(field, 0).Varint((ulong)value);

        public ProtobufMessage Double(int field, double value) => Tag(field, 1).Append(BitConverter.GetBytes(value));

        public ProtobufMessage Float(int field, float value) => Tag(field, 5).Append(BitConverter.GetBytes(value));

        public ProtobufMessage Bytes(int field, ReadOnlySpan<byte> value) => Tag(field, 2).Varint((ulong)value.Length).Append(value);

        public ProtobufMessage Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

        public ProtobufMessage Message(int field, ProtobufMessage value) => Bytes(field, value.Content);

        public ProtobufMessage Doubles(int field, ReadOnlySpan<double> values) => Bytes(field, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));

        private ProtobufMessage Tag(int field, int kind) => Varint((ulong)((field << 3) | kind));

        private ProtobufMessage Varint(ulong value)
        {
            for (; value >= 0x80; value >>= 7)
            {
                _bytes.Add((byte)(value | 0x80));
            }

            _bytes.Add((byte)value);
            return this;
        }

        private ProtobufMessage Append(ReadOnlySpan<byte> value)
        {
            _bytes.AddRange(value);
            return this;
        }
    }
}
