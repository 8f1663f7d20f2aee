/* The floor of all figures: one plain sendto per packet, from C, round robin over the receivers.
 * Usage: floor SIZE COUNT PORT... ; prints the CPU microseconds per packet of this thread. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int size = atoi(argv[1]), count = atoi(argv[2]), receivers = argc - 3;
    struct sockaddr_in *to = calloc(receivers, sizeof *to);
    char *packet = malloc(size);
    memset(packet, 0x55, size);
    for (int i = 0; i < receivers; i++) {
        to[i].sin_family = AF_INET;
        to[i].sin_port = htons(atoi(argv[3 + i]));
        to[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (int i = 0; i < count; i++)
        sendto(fd, packet, size, 0, (struct sockaddr *)&to[i % receivers], sizeof *to);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double us = (end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) / 1e3;
    printf("%.4f\n", us / count);
    return 0;
}
