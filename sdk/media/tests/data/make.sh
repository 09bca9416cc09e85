#!/bin/sh
# Makes the fixtures of this folder (FFmpeg 5.1 with libx264 and libopus). Two seconds each, segments of one second.
# Every picture is one flat grey, darker to lighter with the frame number, so that a test can read the order back;
# the sound is a 1 kHz beep in the first 100 ms of each second.
set -eu
cd "$(dirname "$0")"
run() { ffmpeg -v error -y -fflags +bitexact "$@"; }
grey="color=c=black:r=10:d=2,format=yuv420p,geq=lum='16+10*N':cb=128:cr=128"
beep="aevalsrc=exprs='0.5*sin(2*PI*1000*t)*lt(mod(t\,1)\,0.1)':s=48000:d=2"
x264="-c:v libx264 -preset medium -bf 2 -b_strategy 0 -g 10 -keyint_min 10 -sc_threshold 0 -flags +bitexact -x264-params info=0"

# Two rungs and a mono sound, as DASH makes them: initN.mp4 is the init segment, N-M.m4s the Mth segment.
run -f lavfi -i "$grey" -f lavfi -i "$beep" -map 0:v -map 0:v -map 1:a \
    $x264 -s:v:0 64x36 -s:v:1 128x72 -c:a aac -b:a 32k -flags:a +bitexact \
    -seg_duration 1 -frag_type none -init_seg_name 'init$RepresentationID$.mp4' -media_seg_name '$RepresentationID$-$Number$.m4s' \
    -f dash manifest.mpd
for file in init0:video init1:video-hd init2:audio; do mv "${file%%:*}.mp4" "${file##*:}-init.mp4"; done
for number in 1 2 3; do
    for file in 0:video 1:video-hd 2:audio; do
        test ! -f "${file%%:*}-$number.m4s" || mv "${file%%:*}-$number.m4s" "${file##*:}-$number.m4s"
    done
done
rm manifest.mpd

# Picture and sound in one file, init and fragments together; `absolute` has tfhd base-data-offsets.
mux="-map 0:v -map 1:a $x264 -s 64x36 -c:a aac -b:a 32k -flags:a +bitexact"
run -f lavfi -i "$grey" -f lavfi -i "$beep" $mux -movflags frag_keyframe+delay_moov+default_base_moof muxed.mp4
run -f lavfi -i "$grey" -f lavfi -i "$beep" $mux -movflags frag_keyframe+delay_moov muxed-absolute.mp4

# Sound that is not AAC-LC in mono or stereo.
run -f lavfi -i "$beep" -c:a libopus -b:a 24k -movflags empty_moov+default_base_moof+delay_moov -frag_duration 3000000 opus.mp4
run -f lavfi -i "$beep,pan=5.1|c0=c0|c1=c0|c2=c0" -c:a aac -b:a 64k -movflags empty_moov+default_base_moof+delay_moov -frag_duration 3000000 surround.mp4
run -f lavfi -i "$beep" -t 0.5 -c:a ac3 -b:a 64k -movflags empty_moov+default_base_moof+delay_moov -frag_duration 3000000 ac3.mp4
