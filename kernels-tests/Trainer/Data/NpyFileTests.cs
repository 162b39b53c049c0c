// SPDX-License-Identifier: Apache-2.0
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public sealed class NpyFileTests : FolderTests
{
    [TestCase(new int[0])]
    [TestCase(new[] { 0 })]
    [TestCase(new[] { 7 })]
    [TestCase(new[] { 3, 5 })]
    [TestCase(new[] { 2, 0, 4 })]
    [TestCase(new[] { 700, 999 })]
    public void What_is_written_is_read_again(int[] shape)
    {
        int count = shape.Aggregate(1, (product, size) => product * size);
        float[] floats = [.. Enumerable.Range(0, count).Select(i => (i * 0.37f) - 5.0f)];
        string path = Path.Combine(Folder, "new", "x.npy");
        NpyFile.Write<float>(path, floats, shape);
        NpyArray<float> back = NpyFile.Read<float>(path);
        Assert.Multiple(() =>
        {
            Assert.That(back.Elements, Is.EqualTo(floats));
            Assert.That(back.Shape, Is.EqualTo(shape));
            Assert.That(back.StoredType, Is.EqualTo("f4"));
            Assert.That(NpyFile.Read<double>(path).Elements, Is.EqualTo(floats.Select(value => (double)value)));
            Assert.That(Directory.GetFiles(Path.GetDirectoryName(path)!), Has.Length.EqualTo(1), "no temporary file stays");
        });
    }

    [Test]
    public void Every_type_round_trips()
    {
        Assert.Multiple(() =>
        {
            RoundTrip([double.MinValue, -0.1, double.Epsilon, double.NaN, double.PositiveInfinity]);
            RoundTrip([long.MinValue, -1L, long.MaxValue]);
            RoundTrip([int.MinValue, -1, int.MaxValue]);
            RoundTrip(new byte[] { 0, 1, 255 });
        });
    }

    [Test]
    public void Golden_files_are_read()
    {
        string path = TestData.Get("golden", "loss", "n8_d16", "v.npy");
        NpyArray<float> features = NpyFile.Read<float>(path);
        Assert.Multiple(() =>
        {
            Assert.That(features.Shape, Is.EqualTo(new[] { 8, 16 }));
            Assert.That(features.Elements, Has.All.Matches<float>(float.IsFinite));
            Assert.That(features.Elements.Distinct().Count(), Is.GreaterThan(100));
        });
    }

    [Test]
    public void Version_2_is_read()
    {
        string header = "{'shape': (2,), 'fortran_order': False, 'descr': '<i4'}\n";
        byte[] bytes = [0x93, .. "NUMPY"u8, 2, 0, .. BitConverter.GetBytes(header.Length), .. Encoding.ASCII.GetBytes(header), 1, 0, 0, 0, 255, 255, 255, 255];
        Assert.That(NpyFile.Read<long>(Save(bytes)).Elements, Is.EqualTo(new[] { 1L, -1L }));
    }

    [TestCase("", "no .npy file")]
    [TestCase("PK\u0003\u0004abcdefgh", "no .npy file")]
    public void Foreign_content_is_refused(string content, string reason) => Refuses(Encoding.Latin1.GetBytes(content), reason);

    [TestCase("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 11, "truncated")]
    [TestCase("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 13, "followed by something else")]
    [TestCase("{'descr': '<f4', 'fortran_order': False, 'shape': (2147483647, 2147483647, 2147483647, 2147483647, 2147483647), }", 0, "truncated")]
    [TestCase("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4, "not a size")]
    [TestCase("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "not a size")]
    [TestCase("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4, "Fortran order")]
    [TestCase("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "holds type '>f4'")]
    [TestCase("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 4, "holds type '|O'")]
    [TestCase("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", 8, "wanted f4 or f8")]
    [TestCase("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "not the usual dictionary")]
    [TestCase("nonsense", 4, "not the usual dictionary")]
    public void Bad_headers_are_refused(string header, int dataBytes, string reason) =>
        Refuses([0x93, .. "NUMPY"u8, 1, 0, .. BitConverter.GetBytes((ushort)header.Length), .. Encoding.ASCII.GetBytes(header), .. new byte[dataBytes]], reason);

    [Test]
    public void Every_truncation_is_refused()
    {
        string path = Path.Combine(Folder, "whole.npy");
        NpyFile.Write<double>(path, new double[] { 1, 2, 3 }, 3);
        byte[] whole = File.ReadAllBytes(path);
        Assert.That(whole.Length % 64, Is.EqualTo(24), "the header is padded to 64 bytes");
        for (int length = 0; length < whole.Length; length++)
        {
            string part = Save(whole[..length]);
            Assert.That(() => NpyFile.Read<double>(part), Throws.TypeOf<UserError>(), $"{length} bytes");
        }
    }

    [Test]
    public void Missing_files_andFolders_are_named()
    {
        string missing = Path.Combine(Folder, "missing.npy");
        Assert.Multiple(() =>
        {
            Assert.That(() => NpyFile.Read<float>(missing), Throws.TypeOf<UserError>().With.Message.Contains("missing.npy"));
            Assert.That(() => NpyFile.Read<float>(Folder), Throws.TypeOf<UserError>());
            Assert.That(() => NpyFile.Write<float>(Path.Combine(Folder, "x.npy"), new float[3], 2, 2), Throws.ArgumentException);
            Assert.That(
                () => NpyFile.Write<float>(Folder, new float[3], 3),
                Throws.TypeOf<UserError>().With.Message.StartsWith($"{Folder}: cannot be written (").And.Message.Not.Contains(".tmp"));
            Assert.That(Directory.GetFileSystemEntries(Folder), Is.Empty);
        });
    }

    [Test]
    public void A_failed_write_leaves_the_old_file()
    {
        string path = Path.Combine(Folder, "kept.txt");
        AtomicFile.WriteText(path, "old");
        Assert.That(() => AtomicFile.Write(path, _ => throw new InvalidOperationException("stop")), Throws.InvalidOperationException);
        Assert.Multiple(() =>
        {
            Assert.That(File.ReadAllText(path), Is.EqualTo("old"));
            Assert.That(Directory.GetFiles(Folder), Has.Length.EqualTo(1));
        });
    }

    private void RoundTrip<T>(T[] values)
        where T : unmanaged, System.Numerics.INumber<T>
    {
        string path = Path.Combine(Folder, $"{typeof(T).Name}.npy");
        NpyFile.Write<T>(path, values, values.Length);
        Assert.That(NpyFile.Read<T>(path).Elements, Is.EqualTo(values));
    }

    private string Save(byte[] bytes)
    {
        string path = Path.Combine(Folder, "given.npy");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private void Refuses(byte[] bytes, string reason)
    {
        string path = Save(bytes);
        Assert.That(() => NpyFile.Read<float>(path), Throws.TypeOf<UserError>().With.Message.Contains(reason).And.Message.Contains("given.npy"));
    }
}
