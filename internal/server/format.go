package server

// reads is the newest format of records that this server can read.
func (s *Server) reads() int {
	if s.o.Knows > 0 {
		return s.o.Knows
	}
	return format
}
